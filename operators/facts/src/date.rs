//! Days and the time between them, as said relative to a day.
//!
//! All intervals are half-open, `[from, to)`, of whole days in the time zone of the time that is handed in.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, Weekday};

/// The day of an instant, microseconds since 1970; `None` if it is out of the calendar.
pub(crate) fn day_of(at_us: i64) -> Option<NaiveDate> {
    DateTime::from_timestamp_micros(at_us).map(|at| at.date_naive())
}

/// Midnight that a day begins with, in microseconds since 1970.
pub(crate) fn midnight_us(day: NaiveDate) -> Option<i64> {
    day.and_hms_opt(0, 0, 0).map(|at| at.and_utc().timestamp_micros())
}

/// From a day to a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: NaiveDate,
    pub(crate) to: NaiveDate,
}

/// A quarter of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Season {
    /// June to August.
    Summer,
    /// September to November.
    Autumn,
    /// December to February.
    Winter,
    /// March to May.
    Spring,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

/// A time as said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// So many units from now: of days the day itself, of others the whole unit.
    Whole(Unit, i32),
    /// So many units from today, that very day.
    After(Unit, i32),
    /// A day of the year.
    Day { day: u32, month: u32, year: Option<i32> },
    /// A month.
    Month { month: u32, year: Option<i32> },
    /// A year.
    Year(i32),
    /// The nearest such day.
    Weekday(Weekday),
    /// Such a day so many weeks from this one.
    WeekdayOf(Weekday, i32),
    /// Saturday and Sunday so many weeks from this one.
    Weekend(i32),
    /// A season: the nearest, or that of a year.
    Season(Season, Option<i32>),
    /// The season so many from the nearest: `next summer` is 0 ahead.
    Ahead(Season, bool),
}

/// Where to look for what comes every year or week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Forward,
    Back,
}

fn plus(day: NaiveDate, days: i64) -> Option<NaiveDate> {
    if days < 0 { day.checked_sub_days(Days::new(days.unsigned_abs())) } else { day.checked_add_days(Days::new(days.unsigned_abs())) }
}

fn months(day: NaiveDate, count: i64) -> Option<NaiveDate> {
    let step = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
    if count < 0 { day.checked_sub_months(step) } else { day.checked_add_months(step) }
}

fn one(day: NaiveDate) -> Option<Span> {
    Some(Span { from: day, to: plus(day, 1)? })
}

fn monday(day: NaiveDate) -> Option<NaiveDate> {
    plus(day, -i64::from(day.weekday().num_days_from_monday()))
}

fn month_of(year: i32, month: u32) -> Option<Span> {
    let from = NaiveDate::from_ymd_opt(year, month, 1)?;
    Some(Span { from, to: months(from, 1)? })
}

fn season_of(season: Season, year: i32) -> Option<Span> {
    let (month, year) = match season {
        Season::Spring => (3, year),
        Season::Summer => (6, year),
        Season::Autumn => (9, year),
        // The winter of a year begins in the year before.
        Season::Winter => (12, year - 1),
    };
    let from = NaiveDate::from_ymd_opt(year, month, 1)?;
    Some(Span { from, to: months(from, 3)? })
}

/// The first span of the years around today that has not ended, or the last that has begun.
fn nearest(today: NaiveDate, look: Look, of: impl Fn(i32) -> Option<Span>) -> Option<Span> {
    // A leap day may be eight years away.
    let mut years: Vec<i32> = (-8..=8).map(|step| today.year() + step).collect();
    if look == Look::Back {
        years.reverse();
    }
    years.into_iter().filter_map(of).find(|span| match look {
        Look::Forward => span.to > today,
        Look::Back => span.from <= today,
    })
}

impl When {
    /// The days meant, as said on `today`; `None` if there is no such day.
    pub(crate) fn span(self, today: NaiveDate, look: Look) -> Option<Span> {
        match self {
            Self::Whole(Unit::Day, count) | Self::After(Unit::Day, count) => one(plus(today, count.into())?),
            Self::Whole(Unit::Week, count) => {
                let from = plus(monday(today)?, i64::from(count) * 7)?;
                Some(Span { from, to: plus(from, 7)? })
            }
            Self::Whole(Unit::Month, count) => {
                let from = months(today.with_day(1)?, count.into())?;
                Some(Span { from, to: months(from, 1)? })
            }
            Self::Whole(Unit::Year, count) => Self::Year(today.year().checked_add(count)?).span(today, look),
            Self::After(Unit::Week, count) => one(plus(today, i64::from(count) * 7)?),
            Self::After(Unit::Month, count) => one(months(today, count.into())?),
            Self::After(Unit::Year, count) => one(months(today, i64::from(count) * 12)?),
            Self::Day { day, month, year: Some(year) } => one(NaiveDate::from_ymd_opt(year, month, day)?),
            Self::Day { day, month, year: None } => nearest(today, look, |year| one(NaiveDate::from_ymd_opt(year, month, day)?)),
            Self::Month { month, year: Some(year) } => month_of(year, month),
            Self::Month { month, year: None } => nearest(today, look, |year| month_of(year, month)),
            Self::Year(year) => {
                let from = NaiveDate::from_ymd_opt(year, 1, 1)?;
                Some(Span { from, to: NaiveDate::from_ymd_opt(year + 1, 1, 1)? })
            }
            Self::Weekday(weekday) => {
                let ahead = (7 + i64::from(weekday.num_days_from_monday()) - i64::from(today.weekday().num_days_from_monday())) % 7;
                // Today has a name of its own, so the name of its weekday means another week's.
                let ahead = if ahead == 0 { 7 } else { ahead };
                one(plus(today, if look == Look::Forward { ahead } else { ahead - 7 - if ahead == 7 { 7 } else { 0 } })?)
            }
            Self::WeekdayOf(weekday, weeks) => one(plus(monday(today)?, i64::from(weeks) * 7 + i64::from(weekday.num_days_from_monday()))?),
            Self::Weekend(weeks) => {
                let from = plus(monday(today)?, i64::from(weeks) * 7 + 5)?;
                Some(Span { from, to: plus(from, 2)? })
            }
            Self::Season(season, Some(year)) => season_of(season, year),
            Self::Season(season, None) => nearest(today, look, |year| season_of(season, year)),
            Self::Ahead(season, true) => nearest(today, Look::Forward, |year| season_of(season, year).filter(|span| span.from > today)),
            Self::Ahead(season, false) => nearest(today, Look::Back, |year| season_of(season, year).filter(|span| span.to <= today)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    #[test]
    fn means_the_days_that_people_mean() {
        // A Wednesday.
        let today = day("2026-03-04");
        for (when, look, from, to) in [
            (When::Whole(Unit::Day, 1), Look::Forward, "2026-03-05", "2026-03-06"),
            (When::Whole(Unit::Week, 1), Look::Forward, "2026-03-09", "2026-03-16"),
            (When::Whole(Unit::Month, -1), Look::Back, "2026-02-01", "2026-03-01"),
            (When::Whole(Unit::Year, 1), Look::Forward, "2027-01-01", "2028-01-01"),
            (When::After(Unit::Week, 2), Look::Forward, "2026-03-18", "2026-03-19"),
            (When::Day { day: 12, month: 5, year: None }, Look::Forward, "2026-05-12", "2026-05-13"),
            (When::Day { day: 12, month: 5, year: None }, Look::Back, "2025-05-12", "2025-05-13"),
            (When::Day { day: 29, month: 2, year: None }, Look::Forward, "2028-02-29", "2028-03-01"),
            (When::Month { month: 3, year: None }, Look::Forward, "2026-03-01", "2026-04-01"),
            (When::Month { month: 2, year: None }, Look::Forward, "2027-02-01", "2027-03-01"),
            (When::Month { month: 4, year: None }, Look::Back, "2025-04-01", "2025-05-01"),
            (When::Weekday(Weekday::Fri), Look::Forward, "2026-03-06", "2026-03-07"),
            (When::Weekday(Weekday::Wed), Look::Forward, "2026-03-11", "2026-03-12"),
            (When::Weekday(Weekday::Wed), Look::Back, "2026-02-25", "2026-02-26"),
            (When::Weekday(Weekday::Fri), Look::Back, "2026-02-27", "2026-02-28"),
            (When::WeekdayOf(Weekday::Fri, 1), Look::Forward, "2026-03-13", "2026-03-14"),
            (When::Weekend(0), Look::Forward, "2026-03-07", "2026-03-09"),
            (When::Season(Season::Summer, None), Look::Forward, "2026-06-01", "2026-09-01"),
            (When::Season(Season::Winter, Some(2026)), Look::Back, "2025-12-01", "2026-03-01"),
            (When::Ahead(Season::Spring, true), Look::Forward, "2027-03-01", "2027-06-01"),
            (When::Ahead(Season::Summer, false), Look::Back, "2025-06-01", "2025-09-01"),
        ] {
            assert_eq!(when.span(today, look), Some(Span { from: day(from), to: day(to) }), "{when:?} {look:?}");
        }
        assert_eq!(When::Day { day: 31, month: 2, year: None }.span(today, Look::Forward), None);
        assert_eq!(When::Whole(Unit::Year, i32::MAX).span(today, Look::Forward), None);
    }
}

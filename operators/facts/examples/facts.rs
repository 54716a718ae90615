fn main() {
    let at = 1_772_582_400_000_000 + 12 * 3_600_000_000;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        println!("> {line}");
        for f in ajatus_facts::read(&line, at) {
            let d = |us: Option<i64>| us.map(|us| chrono::DateTime::from_timestamp_micros(us).unwrap().date_naive().to_string()).unwrap_or("-".into());
            println!("    {} {} {:?} of {} {}% [{} {}) {} {:?}", f.polarity.as_str(), f.attribute, f.value, f.about, f.confidence, d(f.valid_from_us), d(f.valid_to_us), f.rule, line.get(f.start..f.end));
        }
    }
}

//! Every reason for which a pipeline file is refused, with its stable text.
//!
//! Families: `P01` syntax, `P02` statements and options, `P03` names and types, `P04` what cannot be kept exactly, `P05`
//! guarantees of sinks, `P06` models, `P07` tests in the file, `P08` what another cluster cannot run. A text is never given to another reason.

/// Declares the codes, their texts, titles and explanations in one list.
macro_rules! codes {
    ($($name:ident $text:literal $title:literal $explain:literal)*) => {
        /// Which rule refuses a file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in the order of the texts.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// Gives the stable text, such as `P0101`.
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Says in one line what is refused.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// Says why, and what to write instead.
            pub fn explain(self) -> &'static str {
                match self { $(Code::$name => $explain,)* }
            }
        }
    };
}

codes! {
    Syntax "P0101" "the statement does not parse"
        "The text is not SQL as PostgreSQL writes it, or a `;` is missing before it."
    BadToken "P0102" "the text is cut off or holds a sign that SQL does not know"
        "Mostly a string, a quoted name or a comment that is not closed. Nothing after it could be read."
    TooDeep "P0103" "the statement is nested too deeply or too long"
        "A statement is read at most 50 levels deep and 16,384 words long. Give its inner queries names with `create view`."

    UnsupportedStatement "P0201" "this kind of statement does not belong in a pipeline"
        "A file holds `create table`, `create model`, `create view`, `insert into` and `set`. It is the whole definition: nothing is \
altered or dropped, rows change by what their source says."
    MissingOption "P0202" "an option without a default is missing"
        "Some options cannot be guessed, such as the connector of a table or the topic of a log."
    UnknownOption "P0203" "there is no such option"
        "Options that nobody reads are refused, because a misspelt one would silently change nothing."
    BadOptionValue "P0204" "an option's value has the wrong form or is out of bounds"
        "The reference of options names the form, the default and the bounds of each."
    DuplicateName "P0205" "two definitions have the same name"
        "Tables, views and models share one space of names, and so do the test cases of a file."
    UnknownConnector "P0206" "there is no such connector"
        "The connectors are kafka, log, file, lance, postgres, stdout, blackhole and memory."
    OptionNotHere "P0207" "the option exists, but not for this connector, direction, task or provider"
        "It would not be read here, so it is refused rather than ignored."
    DuplicateOption "P0208" "an option is given twice"
        "Two spellings of one option, such as `event_time` and `event_time_field`, count as the same."
    WrongDirection "P0209" "the connector cannot be used in this direction"
        "stdout and blackhole can only be written."
    UnsupportedType "P0210" "the column type is not kept"
        "A type is refused if it could not be kept exactly, such as a text of limited length that nobody would check."
    BadPrimaryKey "P0211" "the primary key is not one list of the table's columns"
        "A table has at most one primary key, and each of its columns is named once."
    DuplicateColumn "P0212" "a column is named twice"
        "Unquoted names are folded to lower case before they are compared."
    UnsupportedClause "P0213" "a clause of the statement is not supported"
        "The clause is known from other systems, but it would not be carried out here."
    BadEventTime "P0214" "the event time is not a timestamp column of the table"
        "`event_time` names the column by which time moves on; it must be a timestamp."
    BadChangelog "P0215" "the changelog does not fit the columns"
        "`upsert` needs a primary key; `signed` needs a bigint column that carries +1 and -1."
    NotWritable "P0216" "the insert writes into something that is not a sink"
        "Only a table with `type = 'sink'` is written. A source is filled from outside, a view by its query."
    NoColumns "P0217" "the table has no columns"
        "Columns are never guessed from the data: a pipeline is checked before any row has arrived."

    UnknownTable "P0301" "there is no table or view of this name"
        "A name is a table or view of the same file. A view is defined before it is read."
    UnknownColumn "P0302" "there is no column of this name here"
        "Unquoted names are folded to lower case; a name with capitals is written in double quotes."
    AmbiguousColumn "P0303" "the column exists in more than one of the tables that are read"
        "Write the table's name or alias before it."
    TypeMismatch "P0304" "a value has another type than its place wants"
        "Types are not guessed: cast the value."
    UnknownFunction "P0305" "there is no function of this name"
        "The functions are those of DataFusion that always give the same answer, JSON access, windows and model calls."
    WrongArguments "P0306" "the function is called with the wrong number or kind of arguments"
        "The message names what the function takes."
    DuplicateOutput "P0307" "a query gives two columns of the same name"
        "Give one of them another name with `as`."
    CircularDefinition "P0308" "a view reads itself, directly or through others"
        "A view is computed from what is defined before it."
    InvalidQuery "P0309" "the query has no meaning"
        "The planner found a contradiction that has no code of its own; the message is the planner's."
    NotReadable "P0310" "the query reads something that only can be written"
        "A sink is not read back, a model is called and not selected from. Put a view before the sink and read that."
    UnnamedOutput "P0311" "a column of a view has no usable name"
        "Name a computed column with `as`."
    OperatorInput "P0312" "an operator is given a table that it cannot read"
        "An operator such as `activity(turns)` takes tables or views of the file by name; each has the columns that the reference names."

    NonDeterministicFunction "P0401" "the function gives another answer each time"
        "A deletion must cancel exactly what its insertion produced, so a value must follow from its row alone."
    CurrentTime "P0402" "the query asks for the present time"
        "What is kept must not depend on when it is computed. Use the event time, or a time window."
    OrderWithoutLimit "P0403" "an order without a limit"
        "A view is a set of rows without order. Order by where you read it, or add a limit for the first rows."
    FloatSum "P0404" "a sum or average of floating point numbers"
        "Sums of floats depend on the order of additions, so a deletion would not cancel exactly. Cast to decimal(p, s)."
    GroupingSets "P0405" "grouping sets, rollup or cube"
        "Write one view for each set of keys and combine them with `union all`."
    WindowFunction "P0406" "a window function"
        "One changed row could change every row of its partition. Kept is `row_number()` with a bound such as `n <= 10`."
    UnsupportedAggregate "P0407" "the aggregate cannot be kept under deletions"
        "Kept are count, sum, avg, min, max, count(distinct) and array_agg with an order."
    UnsupportedPlan "P0408" "a part of the query that cannot be kept"
        "DataFusion could answer it once, but there is no incremental form of it here."
    UnboundedCross "P0409" "every row of one table would meet every row of another"
        "Join on an equality, or make one side a single row."
    Recursion "P0410" "a form of recursion that cannot be kept"
        "The step of a recursion reads it once, by projections, filters, `unnest` and the preserved side of joins. Aggregate, rank or \
negate the finished recursion instead: a later round would take back what an earlier one gave."
    VolatileValue "P0411" "a value that may differ each time stands where it is computed more than once"
        "A model's answer can be selected, but not be a key, a condition or an order. Select it in a view of its own first."
    UnsupportedJoin "P0412" "the join has a form that cannot be kept"
        "Kept are inner, left, right, full, semi and anti joins that compare columns for equality."
    LimitWithoutOrder "P0413" "a limit without an order"
        "Which rows would be kept depends on their arrival. Say an order that ends in a key."
    UnsupportedSubquery "P0414" "the subquery has a form that cannot be kept"
        "Kept are `in`, `exists` and single values, where they can be turned into a join on an equality."
    Sampling "P0415" "a sample of rows"
        "A random choice would be another one at every replay. Choose by a hash of a key."
    UnsupportedExpression "P0416" "the expression cannot be computed row by row"
        "It has no meaning for a single row, or its result type is not kept."
    BadWindow "P0417" "the time window is not usable"
        "Windows take a timestamp column and constant intervals of fixed length; a hop is at most as long as its window."
    UnsupportedValue "P0418" "a value of a type without exact order and equality"
        "Rows are compared byte by byte to cancel insertions with deletions; intervals, maps and unions have no such form."

    ExactlyOnceImpossible "P0501" "the sink cannot write exactly once"
        "Its target cannot take back or recognise what was written before a crash. Ask for at_least_once."
    KeyNeeded "P0502" "the guarantee needs a primary key"
        "The sink recognises a row that it has already written by its key. Declare a primary key, or ask for at_least_once."
    ColumnsDoNotFit "P0503" "the query's columns are not the columns of the sink"
        "They are matched by position, or by the list after the sink's name; every not-null column must be written."
    TypeDoesNotFit "P0504" "a column's type is not the type of the sink's column"
        "Nothing is cast silently. Cast in the query, or change the sink's column."
    NullMayReach "P0505" "a null may reach a column that is not null"
        "Filter with `is not null`, or give a value with `coalesce`."
    KeyNotUnique "P0506" "the query may give two rows of the same primary key"
        "The sink keeps one row a key, so which one stays would be chance. Group by the key."
    CannotRetract "P0507" "the sink cannot take rows back, but the query does"
        "A sink that only appends can take rows of a query that never corrects itself: no group by, no outer join."
    WrittenTwice "P0508" "two inserts write into one keyed sink"
        "Their rows could overwrite each other. Combine both queries with `union all`."

    UnknownModel "P0601" "there is no model of this name"
        "The first argument of `embed`, `generate` and `extract` is the name of a `create model` of the same file."
    WrongTask "P0602" "the model has another task than the call"
        "`embed` calls embedding models, `generate` generation models, `extract` extraction models."
    BadSchema "P0603" "the JSON schema of an extraction is not usable"
        "It must be valid JSON and describe an object: `type` is object, `properties` holds its fields. A word that answers are not held \
to, such as `pattern` or `oneOf`, is refused."
    BadModelCall "P0604" "the model is called with the wrong arguments"
        "A call names the model first and gives it one text, then, if it matters, whose answer it is."
    DimensionMismatch "P0605" "vectors of different lengths meet"
        "The model's `dimensions` and the length of `vector(n)` must be the same; nothing is padded or cut."
    ProviderCannot "P0606" "the provider cannot do the model's task"
        "`candle` is built in and does every task; `vllm` and `ollama` are servers, which are asked what they can do."
    BadPrompt "P0607" "the prompt template is not usable"
        "It must parse, and read `{{ input }}`, the text of the call, and nothing else."

    StrayTestLine "P0701" "a line of a test case is not understood, or stands outside of a case"
        "After `-- test: NAME` come `-- given TABLE`, `-- then`, `-- expect NAME` and lines with one JSON document each."
    BadRow "P0702" "a row of a test is not one JSON object"
        "A row is one JSON object in one line. A deletion has `- ` before it and is only possible in given rows."
    WrongTestTable "P0703" "a test gives rows to something that is not a source, or expects them of one"
        "Rows are given to sources and expected of views and sinks."
    UnknownTestColumn "P0704" "a row of a test has a field that is not a column"
        "Fields are compared with the columns as they are, capitals included."
    NothingExpected "P0705" "a test case expects nothing"
        "A case without `-- expect` can never fail."

    PortableModel "P0801" "a model cannot be asked by an Arroyo cluster"
        "Embedding, generation and extraction run here, with their answers recorded. Deploy the rest as a file of its own."
    PortableConnector "P0802" "an Arroyo cluster has no connector for this table"
        "Portable are topics of Kafka, JSON lines that are read, stdout and blackhole."
    PortableOption "P0803" "an option has no equivalent on an Arroyo cluster"
        "It reads and writes JSON records that are only added, or Debezium changes; never sealed or upserted records."
    PortableType "P0804" "a column's type cannot stand in a table of an Arroyo cluster"
        "Portable are boolean, int, bigint (also unsigned), real, double, decimal, text, bytea, timestamp, json, uuid and lists."
    PortableFunction "P0805" "a function means something else on an Arroyo cluster, or is not there"
        "`tumble` and `hop` take their widths only; model calls and table functions of our own stay here."
    PortableQuery "P0806" "a query has a form that an Arroyo cluster does not run"
        "It groups once or by windows of time, joins rows that do not change, and keeps no order."
    PortableOwnLog "P0807" "a topic lies in the embedded log, which an Arroyo cluster cannot reach"
        "Name a Kafka with `bootstrap_servers`, or let the platform's own log be one."
    PortableNothing "P0808" "the file writes nothing"
        "A deployed pipeline needs a sink and an `insert into`."
    PortableRefused "P0809" "the Arroyo cluster refuses the translated query"
        "The message is the cluster's own; `ajatus pipeline deploy --dry-run` prints the text that it was sent."
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn gives_every_code_its_own_text_in_rising_order() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].text() < pair[1].text(), "{} before {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn counts_each_family_without_a_gap() {
        for pair in Code::ALL.windows(2) {
            let [a, b] =
                [pair[0], pair[1]].map(|code| code.text().get(1..).and_then(|n| n.parse::<u32>().ok()).expect("a number"));
            assert!(b == a + 1 || (b / 100 == a / 100 + 1 && b % 100 == 1), "{} is followed by {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn writes_titles_as_fragments_and_explanations_as_sentences() {
        for code in Code::ALL {
            assert!(!code.title().ends_with('.') && code.title().len() <= 100, "{code}");
            assert!(code.explain().ends_with('.'), "{code}");
        }
    }
}

//! Options of models.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_model_without_task_and_provider() {
    assert_snapshot!(refused("create model m with (name = 'minilm');"), @r#"
    error[P0202]: "m" needs the option "task"
     --> pipelines/sanat.sql:4:14
      |
    4 | create model m with (name = 'minilm');
      |              ^
      = hint: add with (task = …), one of 'embedding', 'generation', 'extraction'

    error[P0202]: "m" needs the option "provider"
     --> pipelines/sanat.sql:4:14
      |
    4 | create model m with (name = 'minilm');
      |              ^
      = hint: add with (provider = …), one of 'candle', 'vllm', 'ollama'
    "#);
}

#[test]
fn refuses_a_model_without_a_name() {
    assert_snapshot!(refused("create model m with (task = 'embedding', provider = 'candle');"), @r#"
    error[P0202]: "m" needs the option "name"
     --> pipelines/sanat.sql:4:14
      |
    4 | create model m with (task = 'embedding', provider = 'candle');
      |              ^
      = hint: add name = …, by which the provider knows the model
    "#);
}

#[test]
fn refuses_bounds_of_a_model() {
    assert_snapshot!(refused("create model m with (task = 'embedding', provider = 'candle', name = 'a', dimensions = 0, max_delay = 5, timeout = '2 hours', max_in_flight = -1);"), @r#"
    error[P0204]: "dimensions" cannot be "0"
     --> pipelines/sanat.sql:4:88
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', dimensions = 0, max_delay = 5, timeout = '2 hours', max_in_flight = -1);
      |                                                                                        ^
      = hint: it is a whole number from 1 to 16384

    error[P0204]: "max_delay" cannot be "5"
     --> pipelines/sanat.sql:4:103
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', dimensions = 0, max_delay = 5, timeout = '2 hours', max_in_flight = -1);
      |                                                                                                       ^
      = hint: it is a time from 0 ms to 60 s, such as '5 ms', '2 s' or '10 minutes'

    error[P0204]: "timeout" cannot be "2 hours"
     --> pipelines/sanat.sql:4:116
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', dimensions = 0, max_delay = 5, timeout = '2 hours', max_in_flight = -1);
      |                                                                                                                    ^^^^^^^^^
      = hint: it is a time from 1 ms to 1 h, such as '5 ms', '2 s' or '10 minutes'

    error[P0204]: "max_in_flight" cannot be "-1"
     --> pipelines/sanat.sql:4:143
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', dimensions = 0, max_delay = 5, timeout = '2 hours', max_in_flight = -1);
      |                                                                                                                                               ^^
      = hint: it is a whole number from 1 to 256
    "#);
}

#[test]
fn refuses_an_option_of_another_task() {
    assert_snapshot!(refused("create model m with (task = 'embedding', provider = 'candle', name = 'a', temperature = 1, url = 'http://a');"), @r#"
    error[P0207]: option "temperature" is not read by a model for embedding by candle
     --> pipelines/sanat.sql:4:75
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', temperature = 1, url = 'http://a');
      |                                                                           ^^^^^^^^^^^
      = hint: it is read by generation, extraction

    error[P0207]: option "url" is not read by a model for embedding by candle
     --> pipelines/sanat.sql:4:92
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = 'a', temperature = 1, url = 'http://a');
      |                                                                                            ^^^
      = hint: it is read by vllm, ollama
    "#);
}

#[test]
fn refuses_an_extraction_without_schema() {
    assert_snapshot!(refused("create model m with (task = 'extraction', provider = 'vllm', name = 'a');"), @r#"
    error[P0202]: a model for extraction by vllm needs the option "schema"
     --> pipelines/sanat.sql:4:14
      |
    4 | create model m with (task = 'extraction', provider = 'vllm', name = 'a');
      |              ^
      = hint: add schema = …: the JSON schema of the object to extract
    "#);
}

#[test]
fn refuses_a_schema_that_is_not_json() {
    assert_snapshot!(refused(r#"create model m with (task = 'extraction', provider = 'vllm', name = 'a', schema = '{"type": object}');"#), @r#"
    error[P0603]: the schema is not JSON: expected value at line 1 column 10
     --> pipelines/sanat.sql:4:83
      |
    4 | create model m with (task = 'extraction', provider = 'vllm', name = 'a', schema = '{"type": object}');
      |                                                                                   ^^^^^^^^^^^^^^^^^^
      = hint: write it as {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    "#);
}

#[test]
fn refuses_a_schema_of_a_list() {
    assert_snapshot!(refused(r#"create model m with (task = 'extraction', provider = 'vllm', name = 'a', schema = $${"type": "array"}$$);"#), @r#"
    error[P0603]: the schema does not describe an object with properties
     --> pipelines/sanat.sql:4:83
      |
    4 | create model m with (task = 'extraction', provider = 'vllm', name = 'a', schema = $${"type": "array"}$$);
      |                                                                                   ^^^^^^^^^^^^^^^^^^^^^
      = hint: write it as {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    "#);
}

#[test]
fn refuses_a_misspelt_option_of_a_model() {
    assert_snapshot!(refused("create model m with (task = 'generation', provider = 'ollama', name = 'a', promt = 'hei');"), @r#"
    error[P0203]: unknown option "promt"
     --> pipelines/sanat.sql:4:76
      |
    4 | create model m with (task = 'generation', provider = 'ollama', name = 'a', promt = 'hei');
      |                                                                            ^^^^^
      = hint: did you mean "prompt"?
    "#);
}

#[test]
fn refuses_a_model_without_options() {
    assert_snapshot!(refused("create model m;"), @r#"
    error[P0101]: expected `with`, found the end of the statement
     --> pipelines/sanat.sql:4:15
      |
    4 | create model m;
      |               ^
    "#);
}

#[test]
fn refuses_a_setting_without_a_value() {
    assert_snapshot!(refused("create model m with (task = 'embedding', provider = 'candle', name = '${MODEL}', dimensions = '${DIM:-none}');"), @r#"
    error[P0204]: "name" names ${MODEL}, which has no value
     --> pipelines/sanat.sql:4:70
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = '${MODEL}', dimensions = '${DIM:-none}');
      |                                                                      ^^^^^^^^^^
      = hint: give it one with --set MODEL=…, or a default: ${MODEL:-…}

    error[P0204]: "dimensions" cannot be "none"
     --> pipelines/sanat.sql:4:95
      |
    4 | create model m with (task = 'embedding', provider = 'candle', name = '${MODEL}', dimensions = '${DIM:-none}');
      |                                                                                               ^^^^^^^^^^^^^^
      = hint: it is a whole number from 1 to 16384
    "#);
}

#[test]
fn refuses_a_schema_that_says_what_answers_are_not_held_to() {
    assert_snapshot!(refused(r#"create model m with (task = 'extraction', provider = 'candle', name = 'a', schema = '{"type": "object", "properties": {"a": {"pattern": "x"}}}');"#), @r#"
    error[P0603]: "a" says "pattern", which answers are not held to; known are type, properties, required, additionalProperties, items, enum, const, minLength, maxLength, minimum, maximum, minItems, maxItems
     --> pipelines/sanat.sql:4:85
      |
    4 | create model m with (task = 'extraction', provider = 'candle', name = 'a', schema = '{"type": "object", "properties": {"a": {"pattern": "x"}}}');
      |                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: write it as {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    "#);
}

#[test]
fn refuses_a_prompt_that_does_not_parse_or_reads_something_else() {
    for (prompt, said) in [
        ("{{ input", "the prompt does not parse"),
        ("{{ input }} {{ user }}", "the prompt reads \"user\", which is not there"),
        ("Say something.", "the prompt does not read the input"),
    ] {
        let found = refused(&format!("create model m with (task = 'generation', provider = 'candle', name = 'a', prompt = '{prompt}');"));
        assert!(found.contains("error[P0607]") && found.contains(said) && found.contains("write {{ input }}"), "{found}");
    }
}

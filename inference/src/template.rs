//! A model's chat template: Jinja, as it stands in the model's file.

use minijinja::{Environment, Error, ErrorKind, context};

use crate::port::{ChatMessage, InferenceError};

/// A compiled template with the model's special tokens.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles the template of a model.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if it is no template.
    pub fn new(source: String, bos: String, eos: String) -> Result<Self, InferenceError> {
        let mut environment = Environment::new();
        // As the reference implementation of these templates sets them.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source).map_err(|error| InferenceError::Model {
            path: "chat_template".to_owned(),
            reason: format!("the model's chat template cannot be compiled: {error}"),
        })?;
        Ok(Self { environment, bos, eos })
    }

    /// Renders messages up to the point where the model answers.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the template refuses the messages, e.g. a system message where the model knows none.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, InferenceError> {
        let template = self.environment.get_template(NAME).map_err(refused)?;
        template
            .render(context! { messages => messages, add_generation_prompt => true, bos_token => self.bos, eos_token => self.eos })
            .map_err(refused)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn refused(error: Error) -> InferenceError {
    let detail = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    InferenceError::Input { reason: format!("the model's chat template refuses the messages: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::ChatRole;

    fn message(role: ChatRole, content: &str) -> ChatMessage {
        ChatMessage { role, content: content.to_owned() }
    }

    /// The template that stands in Mistral-7B-Instruct's file: roles must alternate.
    const MISTRAL: &str = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

    #[test]
    fn renders_what_the_model_was_trained_on() {
        let template = ChatTemplate::new(MISTRAL.to_owned(), "<s>".to_owned(), "</s>".to_owned()).expect("compiles");
        let messages = [message(ChatRole::User, "Hei"), message(ChatRole::Assistant, "Moi"), message(ChatRole::User, "Mitä?")];
        assert_eq!(template.render(&messages).expect("renders"), "<s>[INST] Hei [/INST]Moi</s>[INST] Mitä? [/INST]");
    }

    #[test]
    fn passes_on_what_the_template_refuses() {
        let template = ChatTemplate::new(MISTRAL.to_owned(), "<s>".to_owned(), "</s>".to_owned()).expect("compiles");
        let refused = template.render(&[message(ChatRole::Assistant, "Moi")]).expect_err("must alternate").to_string();
        assert!(refused.contains("must alternate"), "{refused}");
        assert!(ChatTemplate::new("{% if".to_owned(), String::new(), String::new()).is_err());
    }

    #[test]
    fn knows_the_methods_that_templates_use() {
        let source = "{% for m in messages %}{{ m['content'].strip().upper() }}{% if m.get('x') %}!{% endif %}{% endfor %}";
        let template = ChatTemplate::new(source.to_owned(), String::new(), String::new()).expect("compiles");
        assert_eq!(template.render(&[message(ChatRole::User, " a ")]).expect("renders"), "A");
    }
}

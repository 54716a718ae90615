//! May one's turns train a model? Only the person says so, and only of themselves.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_allows_it_takes_it_back_and_nobody_else_is_touched() {
    let world = World::start().await;
    let (aino, eino) = (world.user("aino").await, world.user("eino").await);
    let me = async |token: &str| world.call(Method::GET, "/v1/me", Some(token), None).await.1["training_consent_at"].clone();
    let say = async |token: &str, body: Value| world.call(Method::PUT, "/v1/me/training-consent", Some(token), Some(body)).await;
    assert_eq!((me(&aino).await, me(&eino).await), (Value::Null, Value::Null), "signing up allows nothing");
    let (status, answer) = say(&aino, json!({ "given": true })).await;
    assert_eq!((status, answer["login"].as_str()), (StatusCode::OK, Some("aino")));
    assert!(answer["training_consent_at"].is_string(), "{answer}");
    assert_eq!(say(&aino, json!({ "given": true })).await.1, answer, "said twice, the first time counts");
    assert_eq!((me(&aino).await, me(&eino).await), (answer["training_consent_at"].clone(), Value::Null));
    assert_eq!(say(&aino, json!({ "given": false })).await.1["training_consent_at"], Value::Null);
    for bad in [json!({}), json!({ "given": "yes" }), json!({ "given": true, "user": "eino" })] {
        assert_eq!(say(&aino, bad.clone()).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    assert_eq!(me(&aino).await, Value::Null);
    world.stop().await;
}

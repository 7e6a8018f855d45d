use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

use super::*;
use crate::{
    error::ErrorKind,
    llm::{Message, MessageRole},
};

fn request() -> CompletionRequest {
    CompletionRequest::new("Extract facts.", "Ada works at Acme.").with_answer(AnswerSchema::new(
        "facts",
        json!({"type": "object", "properties": {"facts": {"type": "array"}}, "required": ["facts"]}),
    ))
}

fn model(server: &MockServer) -> AnthropicModel {
    let options = HttpOptions::default().with_max_retries(0).unwrap();
    AnthropicModel::connect("key", Some(&server.uri()), options).unwrap()
}

async fn answered(body: Value) -> Result<Completion> {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).insert_header("request-id", "req_1").set_body_json(body);
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    model(&server).complete(&request()).await
}

#[test]
fn requests_have_the_form_of_the_protocol() {
    let model = AnthropicModel::new("key").unwrap().with_model("claude-test");
    insta::assert_snapshot!(serde_json::to_string_pretty(&model.body(&request(), true)).unwrap());
    let image = MessagePart::Image { media_type: "image/png".into(), data: Arc::from(&b"\x89PNG"[..]) };
    let shown = CompletionRequest {
        messages: vec![
            Message::new(MessageRole::User, vec![image, MessagePart::Text("What is it?".into())]),
            Message::assistant("A cat."),
            Message::user("Sure?"),
        ],
        max_tokens: Some(5),
        ..CompletionRequest::default()
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&model.body(&shown, true)).unwrap());
}

#[tokio::test]
async fn the_input_of_the_tool_is_the_answer_as_it_was_written() {
    let server = MockServer::start().await;
    let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
        {"type":"text","text":"I will."},
        {"type":"tool_use","id":"toolu_1","name":"facts","input":{"z":1.0, "a":[10000000000000000000000]}}],
        "stop_reason":"tool_use","usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":3}}"#;
    let answer = ResponseTemplate::new(200).insert_header("request-id", "req_1").set_body_raw(body, "application/json");
    Mock::given(method("POST"))
        .and(path("/v1/messages"))
        .and(header("x-api-key", "key"))
        .and(header("anthropic-version", API_VERSION))
        .respond_with(answer)
        .mount(&server)
        .await;
    // With `/v1` behind the base URL too, which the vendor's SDK does without.
    for base_url in [server.uri(), format!("{}/v1/", server.uri())] {
        let model = AnthropicModel::connect("key", Some(&base_url), HttpOptions::default()).unwrap();
        let completion = model.complete(&request()).await.unwrap();
        assert_eq!(completion.text, r#"{"z":1.0, "a":[10000000000000000000000]}"#);
        assert_eq!(completion.usage, Usage::new(15, 3, 1));
        assert_eq!((completion.request_id.as_deref(), completion.is_cut), (Some("req_1"), false));
    }
}

#[tokio::test]
async fn words_in_place_of_the_tool_are_left_to_the_reader() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let content = json!([{"type": "thinking", "thinking": "…"}, text("{\"facts\":"), text("[]}")]);
    let text = json!({"content": content, "stop_reason": "max_tokens"});
    let completion = answered(text).await.unwrap();
    assert_eq!((completion.text.as_str(), completion.is_cut), ("{\"facts\":[]}", true));
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_typed_errors() {
    for (body, message) in [
        (json!({"content": [], "stop_reason": "end_turn"}), "anthropic gave an empty answer"),
        (
            json!({"content": [], "stop_reason": "max_tokens"}),
            "anthropic reached the limit of tokens before it answered",
        ),
        (json!({"content": [], "stop_reason": "refusal"}), "anthropic refused to answer"),
        (json!({"content": "text"}), "anthropic gave an answer that is no message"),
        (json!([]), "anthropic gave an answer that is no message"),
    ] {
        let error = answered(body).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidResponse, message));
        assert_eq!(error.details().request_id.as_deref(), Some("req_1"));
    }
}

#[tokio::test]
async fn a_context_that_is_too_long_is_told() {
    let server = MockServer::start().await;
    let error = json!({"type": "invalid_request_error", "message": "prompt is too long: 3 tokens > 2 maximum"});
    let body = json!({"type": "error", "error": error});
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(400).set_body_json(body)).mount(&server).await;
    assert_eq!(model(&server).complete(&request()).await.unwrap_err().kind(), ErrorKind::ContextOverflow);
}

#[tokio::test]
async fn a_model_that_cannot_be_forced_is_asked_and_remembered() {
    let server = MockServer::start().await;
    let refusal = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "Thinking may not be enabled when tool_choice forces tool use."}});
    Mock::given(body_partial_json(json!({"tool_choice": {"type": "tool"}})))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .expect(1)
        .mount(&server)
        .await;
    let answer = json!({"content": [{"type": "tool_use", "id": "t", "name": "facts", "input": {}}]});
    Mock::given(body_partial_json(json!({"tool_choice": {"type": "auto"}})))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(2)
        .mount(&server)
        .await;
    let model = model(&server);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 2);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 1);
}

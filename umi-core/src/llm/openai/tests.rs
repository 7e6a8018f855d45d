use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::error::ErrorKind;

fn request() -> CompletionRequest {
    CompletionRequest::new("Extract facts.", "Ada works at Acme.").with_answer(AnswerSchema::new(
        "facts",
        json!({"type": "object", "properties": {"facts": {"type": "array"}}, "required": ["facts"]}),
    ))
}

fn model(server: &MockServer) -> OpenAIModel {
    let options = HttpOptions::default().with_max_retries(0).unwrap();
    OpenAIModel::connect("key", Some(&format!("{}/v1", server.uri())), options).unwrap()
}

fn said(content: &str) -> Value {
    json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}})
}

async fn answered(body: Value) -> Result<Completion> {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).insert_header("x-request-id", "req_1").set_body_json(body);
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer key"))
        .respond_with(answer)
        .mount(&server)
        .await;
    model(&server).complete(&request()).await
}

#[test]
fn requests_have_the_form_of_the_protocol() {
    let model = OpenAIModel::new("key").unwrap().with_model("gpt-test");
    assert!(!model.manner.is_old_limit.load(Ordering::Relaxed));
    let shown = |body: &Value| serde_json::to_string_pretty(body).unwrap();
    insta::assert_snapshot!(shown(&model.body(&request(), Form::Schema, false)));
    insta::assert_snapshot!(shown(&model.body(&request(), Form::Object, true)));
    let image = MessagePart::Image { media_type: "image/png".into(), data: Arc::from(&b"\x89PNG"[..]) };
    let mut pictured = CompletionRequest::new("", "");
    pictured.messages = vec![Message::new(MessageRole::User, vec![image, MessagePart::Text("What is it?".into())])];
    insta::assert_snapshot!(shown(&model.body(&pictured, Form::Schema, false)));
}

#[tokio::test]
async fn answers_are_read_as_text_or_as_parts() {
    let completion = answered(said("{}")).await.unwrap();
    assert_eq!((completion.text.as_str(), completion.usage), ("{}", Usage::new(7, 2, 1)));
    assert_eq!(completion.request_id.as_deref(), Some("req_1"));
    let content = json!([{"type": "text", "text": "{"}, {"type": "text", "text": "}"}]);
    let parts = json!({"choices": [{"message": {"content": content}, "finish_reason": "length"}]});
    let completion = answered(parts).await.unwrap();
    assert_eq!((completion.text.as_str(), completion.is_cut), ("{}", true));
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_typed_errors() {
    let choice = |message: Value, finish: &str| json!({"choices": [{"message": message, "finish_reason": finish}]});
    for (body, kind, message) in [
        (
            choice(json!({"content": null, "refusal": "I cannot."}), "stop"),
            ErrorKind::InvalidResponse,
            "openai refused to answer: I cannot.",
        ),
        (
            choice(json!({"content": ""}), "content_filter"),
            ErrorKind::InvalidResponse,
            "openai withheld its answer because of a filter of content",
        ),
        (choice(json!({"content": " "}), "stop"), ErrorKind::InvalidResponse, "openai gave an empty answer"),
        (
            choice(json!({"content": null}), "length"),
            ErrorKind::InvalidResponse,
            "openai reached the limit of tokens before it answered",
        ),
        (json!({"choices": []}), ErrorKind::InvalidResponse, "openai gave an answer without a choice"),
        (json!([1]), ErrorKind::InvalidResponse, "openai gave an answer that is no chat completion"),
        (
            json!({"error": {"message": "Slow down", "code": 429}}),
            ErrorKind::RateLimit,
            "openai answered with status `429`: Slow down",
        ),
    ] {
        let error = answered(body).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message));
        assert_eq!(error.details().request_id.as_deref(), Some("req_1"));
    }
}

/// A server that refuses what it does not take, in the words of its kind.
async fn strict_server(refuses: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| match refuses(&request.body_json().unwrap()) {
        Some(error) => ResponseTemplate::new(400).set_body_json(json!({"error": error})),
        None => ResponseTemplate::new(200).set_body_json(said("{}")),
    };
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_server_without_schemas_is_asked_for_an_object_and_remembered() {
    let server = strict_server(|body| {
        (body["response_format"]["type"] == "json_schema").then(|| {
            json!({"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
                "type": "invalid_request_error", "param": "response_format"})
        })
    })
    .await;
    let model = model(&server);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 2);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 1);
    let last: Value = server.received_requests().await.unwrap()[2].body_json().unwrap();
    assert_eq!(last["response_format"], json!({"type": "json_object"}));
    let system = last["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("Extract facts.\n\n") && system.contains("JSON Schema") && system.contains("\"facts\""));
    // The data stays alone.
    assert_eq!(last["messages"][1]["content"], "Ada works at Acme.");
}

#[tokio::test]
async fn a_server_without_any_form_is_asked_for_words() {
    let server = strict_server(|body| {
        body.get("response_format").map(|_| json!("response_format is not supported by this server"))
    })
    .await;
    let model = model(&server);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 3);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 1);
}

#[tokio::test]
async fn the_other_limit_of_tokens_is_used_where_one_is_refused() {
    let server = strict_server(|body| {
        body.get("max_tokens").map(|_| {
            json!({"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"})
        })
    })
    .await;
    let model = model(&server);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 2);
    assert_eq!(model.complete(&request()).await.unwrap().usage.requests, 1);
    let last: Value = server.received_requests().await.unwrap()[2].body_json().unwrap();
    assert_eq!(last["max_completion_tokens"], 4096);
}

#[tokio::test]
async fn another_refusal_is_no_reason_to_ask_otherwise() {
    let server = strict_server(|_| {
        Some(
            json!({"message": "This model's maximum context length is 4096 tokens", "code": "context_length_exceeded"}),
        )
    })
    .await;
    let model = model(&server);
    assert_eq!(model.complete(&request()).await.unwrap_err().kind(), ErrorKind::ContextOverflow);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    let image = MessagePart::Image { media_type: "image/png".into(), data: Arc::from(&b"\x89PNG"[..]) };
    let mut wrong = CompletionRequest::new("", "");
    wrong.messages.push(Message::new(MessageRole::Assistant, vec![image]));
    assert!(model.complete(&wrong).await.unwrap_err().is_invalid_input());
}

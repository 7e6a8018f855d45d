use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;

/// A server whose vectors begin with the length of their text, in reverse order; it refuses empty texts.
async fn server(refuses_dimensions: bool) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let body: Value = request.body_json().unwrap();
        let texts: Vec<&str> = body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        if texts.iter().any(|text| text.is_empty()) {
            return ResponseTemplate::new(400)
                .set_body_json(json!({"error": {"message": "input cannot be an empty string"}}));
        }
        if refuses_dimensions && body.get("dimensions").is_some() {
            let error = json!({"error": {"message": "This model does not support specifying dimensions."}});
            return ResponseTemplate::new(400).set_body_json(error);
        }
        let mut data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": [text.len(), 1.0]}))
            .collect();
        data.reverse();
        ResponseTemplate::new(200).set_body_json(json!({"object": "list", "data": data, "model": "m"}))
    };
    Mock::given(method("POST"))
        .and(path("/v1/embeddings"))
        .and(header("authorization", "Bearer key"))
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

fn embedder(server: &MockServer, model: Option<&str>, dimensions: Option<usize>) -> OpenAIEmbedder {
    let options = HttpOptions::default().with_max_retries(0).unwrap();
    OpenAIEmbedder::connect("key", model, dimensions, Some(&format!("{}/v1", server.uri())), options).unwrap()
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

async fn bodies(server: &MockServer) -> Vec<Value> {
    server.received_requests().await.unwrap().iter().map(|request| request.body_json().unwrap()).collect()
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_texts_and_empty_texts_are_not_sent() {
    let server = server(false).await;
    let embedder = embedder(&server, None, Some(2)).with_batch_size(2).unwrap();
    let vectors = embedder.embed(&texts(&["one", "", "three", " \n", "fifteen", "a"])).await.unwrap();
    let lengths: Vec<f32> = vectors.iter().map(|vector| vector[0]).collect();
    assert_eq!(lengths, [3.0, 0.0, 5.0, 0.0, 7.0, 1.0]);
    assert_eq!(vectors[1], [0.0, 0.0]);
    let sent: Vec<usize> = bodies(&server).await.iter().map(|body| body["input"].as_array().unwrap().len()).collect();
    assert_eq!(sent, [2, 2]);
    assert_eq!(embedder.embed(&texts(&["", " "])).await.unwrap(), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(bodies(&server).await.len(), 2);
}

#[tokio::test]
async fn dimensions_are_asked_for_where_they_say_something() {
    let server = server(false).await;
    for (model, dimensions, sent) in [
        (None, Some(2), json!(2)),
        (Some("text-embedding-ada-002"), None, Value::Null),
        (None, Some(1536), Value::Null),
    ] {
        // The server's vectors have two dimensions, whatever is asked for.
        let outcome = embedder(&server, model, dimensions).embed(&texts(&["a"])).await;
        assert_eq!(outcome.is_ok(), dimensions == Some(2));
        assert_eq!(bodies(&server).await.pop().unwrap()["dimensions"], sent);
    }
    let unknown = OpenAIEmbedder::connect("key", Some("other"), None, None, HttpOptions::default()).unwrap_err();
    assert_eq!(unknown.message(), "the dimensions of the model `other` are not known");
}

#[tokio::test]
async fn a_server_that_refuses_dimensions_is_asked_without() {
    let server = server(true).await;
    let embedder = embedder(&server, Some("local"), Some(2));
    embedder.embed(&texts(&["a"])).await.unwrap();
    embedder.embed(&texts(&["b"])).await.unwrap();
    assert_eq!(bodies(&server).await.iter().filter(|body| body.get("dimensions").is_some()).count(), 1);
}

#[tokio::test]
async fn answers_that_do_not_fit_are_typed_errors() {
    for (body, kind) in [
        (json!({"data": []}), ErrorKind::InvalidResponse),
        (json!({"data": [{"index": 5, "embedding": [1.0, 2.0]}]}), ErrorKind::InvalidResponse),
        (json!({"data": [{"index": 0, "embedding": "AAAA"}]}), ErrorKind::InvalidResponse),
        (json!({"data": [{"index": 0, "embedding": [1.0]}]}), ErrorKind::Embedding),
        (json!({"error": {"code": 429, "message": "slow"}}), ErrorKind::RateLimit),
        (json!({}), ErrorKind::InvalidResponse),
    ] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_json(&body);
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        let error = embedder(&server, None, Some(2)).embed(&texts(&["a"])).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
}

#[test]
fn batches_are_cut_by_count_and_bytes() {
    let large = "x".repeat(BATCH_BYTES);
    let texts: Vec<(usize, &str)> = ["a", "b", &large, "c", "d", "e"].into_iter().enumerate().collect();
    let sizes = |count| batches(&texts, count).iter().map(|batch| batch.len()).collect::<Vec<_>>();
    assert_eq!(sizes(100), [2, 1, 3]);
    assert_eq!(sizes(2), [2, 1, 2, 1]);
    assert!(batches(&[], 2).is_empty());
}

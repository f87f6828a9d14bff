//! In parts or at once, the list has the same bytes and the announced length.

use crate::storage::catalog::testing::definition;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::storage::object::encoded;

fn object(number: u64) -> Arc<Object> {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{number}")},
        "data": {"text": "x".repeat(number as usize * 37 % 3000)}});
    Object::new(Arc::new(encoded(&value)), &definition("", "configmaps"), number).unwrap()
}

fn body(count: u64) -> ListBody {
    ListBody::new("{\"kind\":\"ConfigMapList\",\"items\":[".to_owned(), (1..=count).map(object).collect())
}

#[tokio::test]
async fn the_parts_are_the_list_and_its_length_is_known() {
    for count in [0, 1, 2, 500] {
        let whole = body(count).into_bytes();
        let decoded: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(decoded["items"].as_array().unwrap().len() as u64, count);
        assert_eq!(body(count).size_hint().exact(), Some(whole.len() as u64));
        let (mut parts, mut seen) = (body(count), Vec::new());
        while let Some(frame) = parts.frame().await {
            let part = frame.unwrap().into_data().unwrap();
            assert!(!part.is_empty() && part.len() < PART_BYTES + 4096);
            seen.extend_from_slice(&part);
        }
        assert!(parts.is_end_stream() && seen == whole);
    }
}

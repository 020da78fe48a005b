//! A real Prometheus.

use super::operator::get;
use super::process::{Ending, Guarded, free_port};
use super::{eventually, tool};
use serde_json::Value;
use std::path::Path;

/// A running Prometheus. It ends when this is dropped.
pub struct Prometheus {
    process: Guarded,
    address: String,
}

impl Prometheus {
    /// Starts one with this configuration, and its files in this folder, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(dir: &Path, configuration: &str) -> Self {
        let dir = dir.join("prometheus");
        std::fs::create_dir_all(&dir).expect("a folder");
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, configuration).expect("written");
        let address = format!("127.0.0.1:{}", free_port());
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let process = Guarded::spawn(&tool("prometheus"), &args, &dir.join("log"), Ending::Kill);
        let mut started = Self { process, address };
        eventually("Prometheus to be ready", async || {
            assert!(!started.process.has_ended(), "Prometheus ended: {}", started.process.output());
            (get(&started.address, "/-/ready").await?.0 == 200).then_some(())
        })
        .await;
        started
    }

    /// What its API answers to a question with these parameters.
    ///
    /// # Panics
    /// When it refuses it.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let path = format!("/api/v1/{path}?{}", parameters.join("&"));
        let (status, body) = get(&self.address, &path).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["data"].clone()
    }

    /// All values that an expression has now, as text.
    pub async fn values(&self, expression: &str) -> Vec<String> {
        let found = self.ask("query", &[("query", expression)]).await;
        samples(&found, |series| vec![series["value"][1].clone()])
    }

    /// All values that an expression has had at each of the last so many seconds, as text.
    pub async fn values_over(&self, expression: &str, seconds: u64) -> Vec<String> {
        let now = jiff::Timestamp::now().as_second();
        let start = now - i64::try_from(seconds).expect("not long");
        let (start, end) = (start.to_string(), now.to_string());
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let found = self.ask("query_range", &parameters).await;
        samples(&found, |series| {
            let values = series["values"].as_array().into_iter().flatten();
            values.map(|pair| pair[1].clone()).collect()
        })
    }
}

fn samples(found: &Value, of: impl Fn(&Value) -> Vec<Value>) -> Vec<String> {
    let series = found["result"].as_array().into_iter().flatten();
    series.flat_map(of).filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// A text as a part of a URL.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |url, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => url + char::from(byte).encode_utf8(&mut [0; 4]),
        _ => url + &format!("%{byte:02X}"),
    })
}

//! The panels of the dashboard, and what they ask.

use serde_json::Value;
use std::path::Path;

/// The chart's dashboard.
pub struct Dashboard {
    /// The whole JSON.
    pub json: Value,
    /// All panels but rows.
    pub panels: Vec<Panel>,
}

/// A panel that asks something.
pub struct Panel {
    /// Its title.
    pub title: String,
    /// Its JSON.
    pub json: Value,
    /// What it asks.
    pub targets: Vec<Target>,
}

/// One question of a panel.
pub struct Target {
    /// Its name in the panel: A, B, …
    pub name: String,
    /// The expression, with variables.
    pub expression: String,
    /// Whether it asks for the last moment only.
    pub instant: bool,
}

impl Dashboard {
    /// Reads it.
    ///
    /// # Panics
    /// When it is no dashboard.
    pub fn read() -> Self {
        let path = "charts/opamp-operator/files/dashboards/opamp-operator.json";
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let panels = json["panels"].as_array().expect("panels").iter();
        let panels = panels.filter(|panel| panel["type"] != "row").map(panel).collect();
        Self { json, panels }
    }

    /// The names of its variables.
    pub fn variables(&self) -> Vec<&str> {
        let variables = self.json["templating"]["list"].as_array().expect("variables").iter();
        variables.filter_map(|variable| variable["name"].as_str()).collect()
    }
}

fn panel(json: &Value) -> Panel {
    let targets = json["targets"].as_array().into_iter().flatten().map(|target| Target {
        name: text(&target["refId"]),
        expression: text(&target["expr"]),
        instant: target["instant"] == true,
    });
    Panel { title: text(&json["title"]), json: json.clone(), targets: targets.collect() }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The expression as Grafana would ask it, with these values of variables.
pub fn filled(expression: &str, variables: &[(&str, &str)]) -> String {
    let filled =
        variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('$'), "a variable that nobody knows: {filled}");
    filled
}

//! Compares two schemas of a kind: what in the later one an object or a program of the earlier version would not survive.
//!
//! Pure: two definitions as JSON in, one sentence for each break out. Whatever only adds passes.

use serde_json::{Map, Value};

/// Keys whose bound is tightened by a larger number, then those by a smaller one.
const LOWEST: [&str; 4] = ["minLength", "minItems", "minProperties", "minimum"];
const HIGHEST: [&str; 4] = ["maxLength", "maxItems", "maxProperties", "maximum"];
/// What must stay as it is.
const FIXED: [&str; 14] = [
    "type",
    "format",
    "nullable",
    "default",
    "multipleOf",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "uniqueItems",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];
/// What is compared elsewhere, or says nothing to a program.
const OTHER: [&str; 9] = [
    "description",
    "title",
    "example",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "enum",
    "x-kubernetes-validations",
];

/// What of a definition breaks objects or programs of the earlier one.
pub fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let kind = old["spec"]["names"]["kind"].as_str().unwrap_or("?");
    let mut found = Breaks { path: kind.to_owned(), list: Vec::new() };
    let (old, new) = (&old["spec"], &new["spec"]);
    for key in ["group", "scope"] {
        found.fixed(key, &old[key], &new[key]);
    }
    for key in ["kind", "listKind", "plural", "singular"] {
        found.fixed(key, &old["names"][key], &new["names"][key]);
    }
    for key in ["shortNames", "categories"] {
        found.kept(key, &old["names"][key], &new["names"][key]);
    }
    for version in list(&old["versions"]) {
        let name = &version["name"];
        match list(&new["versions"]).iter().find(|found| found["name"] == *name) {
            Some(other) => found.version(version, other),
            None => found.tell(format!("version {name} is gone")),
        }
    }
    found.list
}

/// What is wrong with the number of a later schema: it rises when anything changes that is not only told to people.
pub fn number_fault(old: (u64, &Value), new: (u64, &Value)) -> Option<String> {
    let schemas = |crd: &Value| -> Vec<Value> {
        list(&crd["spec"]["versions"]).iter().map(|version| told_apart(&version["schema"])).collect()
    };
    let kind = new.1["spec"]["names"]["kind"].as_str().unwrap_or("?");
    let changed = schemas(old.1) != schemas(new.1);
    match (changed, new.0 > old.0) {
        _ if new.0 < old.0 => Some(format!("{kind}: the schema's number fell from {} to {}", old.0, new.0)),
        (true, false) => Some(format!(
            "{kind}: the schema has changed and its number is {} still: raise SCHEMA_VERSION",
            new.0
        )),
        _ => None,
    }
}

/// A schema without what is for people.
fn told_apart(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, value)| *key != "description" || !value.is_string());
            Value::Object(kept.map(|(key, value)| (key.clone(), told_apart(value))).collect())
        }
        Value::Array(entries) => entries.iter().map(told_apart).collect(),
        other => other.clone(),
    }
}

struct Breaks {
    path: String,
    list: Vec<String>,
}

impl Breaks {
    fn tell(&mut self, what: impl std::fmt::Display) {
        self.list.push(format!("{}: {what}", self.path));
    }

    fn fixed(&mut self, key: &str, old: &Value, new: &Value) {
        if old != new {
            self.tell(format!("{key} changed from {old} to {new}"));
        }
    }

    fn kept(&mut self, key: &str, old: &Value, new: &Value) {
        for gone in list(old).iter().filter(|value| !list(new).contains(value)) {
            self.tell(format!("{gone} is gone from {key}"));
        }
    }

    fn within(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(name);
        look(self);
        self.path.truncate(length);
    }

    fn version(&mut self, old: &Value, new: &Value) {
        for key in ["served", "storage", "subresources"] {
            self.fixed(key, &old[key], &new[key]);
        }
        for column in list(&old["additionalPrinterColumns"]) {
            let name = &column["name"];
            match list(&new["additionalPrinterColumns"]).iter().find(|found| found["name"] == *name) {
                None => self.tell(format!("column {name} is gone")),
                Some(other) => {
                    for key in ["jsonPath", "type", "format", "priority"] {
                        self.fixed(&format!("{key} of column {name}"), &column[key], &other[key]);
                    }
                }
            }
        }
        self.schema(&old["schema"]["openAPIV3Schema"], &new["schema"]["openAPIV3Schema"]);
    }

    fn schema(&mut self, old: &Value, new: &Value) {
        for key in FIXED {
            self.fixed(key, &old[key], &new[key]);
        }
        self.bounds(old, new);
        self.values(old, new);
        self.pattern(old, new);
        self.required(old, new);
        self.rules(old, new);
        self.fields(old, new);
        for key in ["items", "additionalProperties"] {
            let name = if key == "items" { "[]" } else { "{}" };
            match (&old[key], &new[key]) {
                (Value::Object(_), Value::Object(_)) => {
                    self.within(name, |inner| inner.schema(&old[key], &new[key]));
                }
                (old, new) => self.fixed(key, old, new),
            }
        }
        let known =
            |key: &str| [&FIXED[..], &LOWEST, &HIGHEST, &OTHER].concat().contains(&key) || key == "pattern";
        for key in keys(old).into_iter().chain(keys(new)).filter(|key| !known(key)) {
            self.fixed(key, &old[key], &new[key]);
        }
    }

    fn bounds(&mut self, old: &Value, new: &Value) {
        let tighter = |key: &str, is_tighter: fn(f64, f64) -> bool| {
            let after = new[key].as_f64()?;
            let before = old[key].as_f64();
            before.is_none_or(|before| is_tighter(before, after)).then(|| match before {
                Some(_) => format!("{key} is tightened from {} to {}", old[key], new[key]),
                None => format!("{key} {} is new", new[key]),
            })
        };
        let lowest = LOWEST.iter().filter_map(|key| tighter(key, |before, after| after > before));
        let highest = HIGHEST.iter().filter_map(|key| tighter(key, |before, after| after < before));
        lowest.chain(highest).for_each(|text| self.tell(text));
    }

    fn values(&mut self, old: &Value, new: &Value) {
        match (old["enum"].as_array(), new["enum"].as_array()) {
            (Some(old), Some(new)) => {
                for gone in old.iter().filter(|value| !new.contains(value)) {
                    self.tell(format!("value {gone} is gone"));
                }
            }
            (None, Some(_)) => self.tell("any value could stand here, and now only some can"),
            (_, None) => {}
        }
    }

    fn pattern(&mut self, old: &Value, new: &Value) {
        if !new["pattern"].is_null() {
            self.fixed("pattern", &old["pattern"], &new["pattern"]);
        }
    }

    /// What objects do not have they cannot be asked for, and what programs rely on cannot be left out.
    fn required(&mut self, old: &Value, new: &Value) {
        let (before, after) = (list(&old["required"]), list(&new["required"]));
        for name in after.iter().filter(|name| !before.contains(name)) {
            self.tell(format!("{name} is required now: objects that exist may lack it"));
        }
        for name in before.iter().filter(|name| !after.contains(name)) {
            self.tell(format!(
                "{name} is no longer required: earlier programs cannot read objects without it"
            ));
        }
    }

    /// A rule passes only if it lets values stand that do not change.
    fn rules(&mut self, old: &Value, new: &Value) {
        let rules = |schema: &Value| list(&schema["x-kubernetes-validations"]).to_vec();
        for rule in rules(new) {
            let text = rule["rule"].as_str().unwrap_or_default();
            let known = rules(old).iter().any(|known| known["rule"] == rule["rule"]);
            let ratchets = rule["optionalOldSelf"] == true && text.contains("oldSelf");
            if !known && !ratchets {
                self.tell(format!("a new rule that objects which exist may break: {text}"));
            }
        }
    }

    fn fields(&mut self, old: &Value, new: &Value) {
        let none = Map::new();
        let fields = |schema: &Value| schema["properties"].as_object().unwrap_or(&none).clone();
        let (before, after) = (fields(old), fields(new));
        for (name, field) in &before {
            match after.get(name) {
                Some(other) => self.within(&format!(".{name}"), |inner| inner.schema(field, other)),
                None => self.within(&format!(".{name}"), |inner| inner.tell("the field is gone")),
            }
        }
        // An earlier program would pass over it, and select more.
        let selects = before.contains_key("matchExpressions") || before.contains_key("operator");
        for name in after.keys().filter(|name| selects && !before.contains_key(*name)) {
            self.tell(format!(
                "{name} narrows a selector, which earlier programs do not see: add an operator"
            ));
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn keys(schema: &Value) -> Vec<&str> {
    schema.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

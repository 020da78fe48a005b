//! From a YAML reader's events to [`Value`], within limits that hold after aliases are expanded.
//!
//! The reader's own budget counts what stands in the file. An alias is written in three bytes and
//! may stand for all the rest of the file, so what comes out is counted here as well.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, MAX_DEPTH, MAX_NODES, MAX_TEXT};
use super::{Text, Value};

/// What is left of the limits, and what went wrong. One for all files of a configuration, so that
/// many small files cannot do what one large file may not.
pub(super) struct Limits {
    nodes: Cell<usize>,
    text: Cell<usize>,
    /// The reason of a failure that was found here; the reader carries only text.
    fault: RefCell<Option<Fault>>,
}

/// Reads one node at a depth.
#[derive(Clone, Copy)]
pub(super) struct ValueSeed<'a> {
    limits: &'a Limits,
    depth: usize,
}

/// Reads one key of a mapping as text.
#[derive(Clone, Copy)]
struct KeySeed<'a>(&'a Limits);

impl Limits {
    pub(super) const fn new() -> Self {
        Self { nodes: Cell::new(MAX_NODES), text: Cell::new(MAX_TEXT), fault: RefCell::new(None) }
    }

    pub(super) const fn seed(&self) -> ValueSeed<'_> {
        ValueSeed { limits: self, depth: 0 }
    }

    /// The reason noted by the last failure, which is forgotten.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.fault.borrow_mut().take()
    }

    fn fail<T, E: Error>(&self, fault: Fault) -> Result<T, E> {
        let error = E::custom(&fault);
        *self.fault.borrow_mut() = Some(fault);
        Err(error)
    }

    fn take<E: Error>(&self, left: &Cell<usize>, amount: usize) -> Result<(), E> {
        match left.get().checked_sub(amount) {
            Some(rest) => left.set(rest),
            None => return self.fail(Fault::TooLarge),
        }
        Ok(())
    }

    fn take_node<E: Error>(&self) -> Result<(), E> {
        self.take(&self.nodes, 1)
    }

    fn take_text<E: Error>(&self, text: &str) -> Result<(), E> {
        self.take(&self.text, text.len())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Limits::new().seed().deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.limits.take_node()?;
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    /// The seed for what a list or a mapping at this depth contains.
    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return self.limits.fail(Fault::TooDeep);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a configuration")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::UInt(value), Value::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.limits.take_text(value)?;
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key_seed(KeySeed(self.limits))? {
            match map.entry(Text::from(key)) {
                Entry::Vacant(entry) => entry.insert(entries.next_value_seed(inner)?),
                Entry::Occupied(entry) => {
                    return self.limits.fail(Fault::DuplicateKey(entry.key().to_string()));
                }
            };
        }
        Ok(Value::Map(map))
    }
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        self.0.take_node()?;
        deserializer.deserialize_any(self)
    }
}

/// Keys that are not text become what Go's `%v` prints of them, since that is how the supervisor
/// writes them (`IntfaceKeysToStrings` of koanf's `maps` package).
impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a scalar as the key of a mapping")
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok("<nil>".to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        Ok(float_as_go_prints_it(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        self.0.take_text(value)?;
        Ok(value.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.0.fail(Fault::KeyNotScalar)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.0.fail(Fault::KeyNotScalar)
    }
}

/// `%v` of a `float64`: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
fn float_as_go_prints_it(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        let infinite = if value > 0.0 { "+Inf" } else { "-Inf" };
        return if value.is_nan() { "NaN" } else { infinite }.to_owned();
    }
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::float_as_go_prints_it;

    #[test]
    fn float_key_is_written_as_go_prints_it() {
        // Printed by Go's fmt.Sprintf("%v").
        let floats = [
            (1.0, "1"),
            (1.5, "1.5"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789.0, "1.23456789e+08"),
            (123_456.75, "123456.75"),
            (1_000_000.0, "1e+06"),
            (1e21, "1e+21"),
            (-2.5e100, "-2.5e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in floats {
            assert_eq!(float_as_go_prints_it(value), text);
        }
    }
}

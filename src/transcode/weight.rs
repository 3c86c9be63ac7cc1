//! How much memory a message takes once it is decoded, told from its bytes alone, before anything is
//! built of them: two bytes on the wire can become a structure of hundreds. The answer is a bound for
//! the decoders used here, not a measurement, and errs on the side of too much.

use std::collections::HashMap;

use micro_sdk::Error;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::{Invalid, depth};

/// Bytes of a `String`, a `Vec` or a `Bytes` without its content, and of a `HashMap`.
const TEXT: usize = 24;
const MAP: usize = 48;
/// Lists and maps grow by doubling, so that up to twice of what they hold is allocated.
const GROWTH: usize = 2;
/// The first element makes room for four, twice as many as any other one.
const FIRST: usize = 2;
/// Bytes that the shortest text takes which is not empty.
const SHORTEST: usize = 8;
/// The wire type of what has a length.
const LENGTH_DELIMITED: u64 = 2;

/// What a field adds when it comes.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// The content, and so many bytes beside it.
    Text(usize),
    /// A message of this number, and so many bytes for its own structure.
    Message(usize, usize),
    /// Numbers without tags: so many bytes for each byte.
    Packed(usize),
}

/// The lists and maps of a message that have an element already, by the numbers of their fields.
#[derive(Default)]
struct Begun(u128);

impl Begun {
    /// How many times over the structure of an element counts. The numbers of our contract are all
    /// different here.
    fn times(&mut self, field: u32) -> usize {
        let bit = 1 << (field % u128::BITS);
        let first = self.0 & bit == 0;
        self.0 |= bit;
        if first { FIRST } else { 1 }
    }
}

/// The messages of a contract, as far as their weight is concerned.
#[derive(Debug)]
pub(crate) struct Weights {
    numbers: HashMap<String, usize>,
    messages: Vec<HashMap<u32, Field>>,
}

impl Weights {
    /// Of every message of a pool.
    pub(crate) fn of(pool: &DescriptorPool) -> Self {
        let all: Vec<MessageDescriptor> = pool.all_messages().collect();
        let numbers: HashMap<String, usize> = all
            .iter()
            .enumerate()
            .map(|(number, message)| (message.full_name().to_owned(), number))
            .collect();
        let fields = |message: &MessageDescriptor| {
            message.fields().map(|field| (field.number(), kind_of(&field, &numbers))).collect()
        };
        let messages = all.iter().map(fields).collect();
        Self { numbers, messages }
    }

    /// The number by which [`Weights::weigh`] knows a message.
    pub(crate) fn number(&self, message: &MessageDescriptor) -> Option<usize> {
        self.numbers.get(message.full_name()).copied()
    }

    /// The bytes that a message takes once it is decoded. Gives up, with what it has found, once that
    /// is more than `enough`.
    ///
    /// # Errors
    /// These are not the bytes of a message.
    pub(crate) fn weigh(&self, number: usize, message: &[u8], enough: usize) -> Result<usize, Invalid> {
        let mut weight = 0;
        self.add(number, message, enough, &mut weight, 0)?;
        Ok(weight)
    }

    fn add(
        &self,
        number: usize,
        mut rest: &[u8],
        enough: usize,
        weight: &mut usize,
        level: usize,
    ) -> Result<(), Invalid> {
        if level > depth::MOST_LEVELS {
            return Err(Invalid(depth::too_deep()));
        }
        let mut begun = Begun::default();
        // How many groups are open. The contract has none, so what stands in one is not kept.
        let mut groups = 0_usize;
        while !rest.is_empty() && *weight <= enough {
            let key = varint(&mut rest)?;
            let content = match key & 7 {
                0 => {
                    varint(&mut rest)?;
                    continue;
                }
                1 => skip(&mut rest, 8)?,
                5 => skip(&mut rest, 4)?,
                LENGTH_DELIMITED => {
                    let length = varint(&mut rest)?;
                    skip(&mut rest, usize::try_from(length).unwrap_or(usize::MAX))?
                }
                3 => {
                    groups += 1;
                    continue;
                }
                4 => {
                    groups = groups.saturating_sub(1);
                    continue;
                }
                _ => return Err(malformed()),
            };
            // A field that is not known is not kept.
            let Some(field) = u32::try_from(key >> 3).ok().filter(|_| groups == 0) else { continue };
            match self.messages[number].get(&field) {
                Some(Field::Text(0)) if content.is_empty() => {}
                Some(Field::Text(own)) => {
                    *weight += own * begun.times(field) + content.len().max(SHORTEST);
                }
                Some(Field::Packed(width)) => *weight += width * content.len(),
                Some(&Field::Message(inner, own)) => {
                    *weight += own * begun.times(field);
                    self.add(inner, content, enough, weight, level + 1)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn kind_of(field: &FieldDescriptor, numbers: &HashMap<String, usize>) -> Field {
    let Kind::Message(message) = field.kind() else {
        return match field.kind() {
            Kind::String | Kind::Bytes => Field::Text(if field.is_list() { GROWTH * TEXT } else { 0 }),
            _ => Field::Packed(GROWTH * 8),
        };
    };
    let number = numbers.get(message.full_name()).copied().unwrap_or_default();
    // A single message lies in the structure of the one around it, unless it would contain itself.
    let own = size(&message, 0);
    let own = if field.is_list() || field.is_map() { GROWTH * own } else { own };
    Field::Message(number, own)
}

/// The bytes of a message's own structure. Messages below it lie within, down to where one would
/// contain itself: that one stands behind a pointer.
fn size(message: &MessageDescriptor, level: usize) -> usize {
    let sizes = message.fields().map(|field| {
        if field.is_map() {
            return MAP;
        }
        match field.kind() {
            _ if field.is_list() => TEXT,
            Kind::Message(inner) if level < 8 && inner != *message => 8 + size(&inner, level + 1),
            Kind::String | Kind::Bytes => TEXT,
            _ => 16,
        }
    });
    16 + sizes.sum::<usize>()
}

fn varint(rest: &mut &[u8]) -> Result<u64, Invalid> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or_else(malformed)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn skip<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Invalid> {
    let (content, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok(content)
}

fn malformed() -> Invalid {
    Invalid("cannot read the message: it is no protobuf".to_owned())
}

/// Bytes of a JSON object or array that is not empty, of another value, and of the name of a field, once
/// they are read: the nodes of trees and tables have room for several entries.
const CONTAINER: usize = 800;
const VALUE: usize = 80;

/// How many times its size JSON may take in memory.
const JSON_FACTOR: usize = 8;
/// How many bytes it may take however small it is.
const JSON_FLOOR: usize = 64 << 20;

/// Refuses a JSON text that is small, and so many values that they would fill the memory.
///
/// # Errors
/// 413.
pub(crate) fn check_json(json: &[u8]) -> Result<(), Error> {
    // So little cannot be too much.
    if json.len() < 64 << 10 {
        return Ok(());
    }
    let most = JSON_FLOOR.max(JSON_FACTOR * json.len());
    if of_json(json) <= most {
        return Ok(());
    }
    Err(Error::too_large(format!(
        "the JSON has so many values that it would take more than {most} bytes of memory, which is the limit: \
         send it in several messages, or as protobuf"
    )))
}

/// How deep the fields of a query or a form may nest.
const MOST_PARAMETER_LEVELS: usize = 16;
/// How many times their size the parameters of a query or a form may take in memory.
const PARAMETERS_FACTOR: usize = 8;
/// How many bytes they may take however small they are.
const PARAMETERS_FLOOR: usize = 4 << 20;

/// Refuses the text of a query or a form that is small, and so many nested fields that they would fill the
/// memory.
///
/// # Errors
/// 400 for a field that nests too deep, 413 for too many.
pub(crate) fn check_parameters(text: &[u8]) -> Result<(), Error> {
    let most = PARAMETERS_FLOOR.max(PARAMETERS_FACTOR * text.len());
    let mut weight = 0;
    for pair in text.split(|byte| *byte == b'&') {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
        let levels = 1 + count(name, b".[");
        if levels > MOST_PARAMETER_LEVELS {
            return Err(Error::bad_request(format!(
                "a parameter nests deeper than {MOST_PARAMETER_LEVELS} levels"
            )));
        }
        // A value may be read as JSON.
        weight += 2 * VALUE + 2 * name.len() + value.len() + (levels - 1) * (VALUE + CONTAINER);
        weight += count(value, b"[{") * (VALUE + CONTAINER) + count(value, b",:") * VALUE;
        if weight > most {
            return Err(Error::too_large(format!(
                "the query or the form has so many fields that they would take more than {most} bytes of \
                 memory, which is the limit: send it in several messages, or as JSON"
            )));
        }
    }
    Ok(())
}

/// How often one of these characters stands in a text, also where it is percent-encoded.
fn count(text: &[u8], wanted: &[u8]) -> usize {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let encoded = |rest: &[u8]| match rest {
        [b'%', high, low, ..] => Some((hex(*high)? << 4) | hex(*low)?),
        _ => None,
    };
    let is_one = |at: usize| {
        wanted.contains(&text[at]) || encoded(&text[at..]).is_some_and(|byte| wanted.contains(&byte))
    };
    (0..text.len()).filter(|at| is_one(*at)).count()
}

/// The bytes that a JSON text takes once it is read into values or into a message.
fn of_json(json: &[u8]) -> usize {
    let (mut weight, mut in_text, mut escaped, mut opened) = (VALUE + json.len(), false, false, false);
    let mut level = 0_usize;
    for &byte in json {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'{' | b'[' => {
                level += 1;
                // What reads it gives up here.
                if level > depth::MOST_JSON_LEVELS {
                    return weight;
                }
                weight += VALUE + if opened { CONTAINER } else { 0 };
                opened = true;
                continue;
            }
            b'}' | b']' => level = level.saturating_sub(1),
            b',' | b':' => weight += VALUE,
            byte if byte.is_ascii_whitespace() => continue,
            _ => {
                in_text = byte == b'"';
                weight += if opened { CONTAINER } else { 0 };
            }
        }
        opened = false;
    }
    weight
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::DESCRIPTORS;

    use super::*;

    fn weigh(name: &str, bytes: &[u8]) -> Result<usize, Invalid> {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let weights = Weights::of(&pool);
        let number = weights.number(&pool.get_message_by_name(name).unwrap()).unwrap();
        weights.weigh(number, bytes, usize::MAX)
    }

    #[test]
    fn parameters_are_weighed_before_anything_is_built_of_them() {
        let code = |text: &str| check_parameters(text.as_bytes()).map_or_else(|error| error.code, |()| 200);
        let many = |pair: &str, count: usize| vec![pair; count].join("&");
        assert_eq!(code(""), 200);
        assert_eq!(code(&many("name=Jane&age=7", 10_000)), 200);
        assert_eq!(code(&many("a.b[c]=1", 1000)), 200);
        for deep in [".a", "[a]", "%2ea", "%5Ba%5d"] {
            assert_eq!(code(&format!("a{}=1", deep.repeat(15))), 200, "{deep}");
            assert_eq!(code(&format!("a{}=1", deep.repeat(16))), 400, "{deep}");
            assert_eq!(code(&many(&format!("a{}", deep.repeat(15)), 4000)), 413, "{deep}");
        }
        for value in ["a=[[],[],[],[]]", "a=%5B%7B%22%22%3A%7B%7D%7D%5D"] {
            assert_eq!(code(&many(value, 10_000)), 413, "{value}");
        }
        assert_eq!(code(&many("a", 300_000)), 413);
    }

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_shows() {
        for (message, element) in [
            ("registry.Service", &[0x22, 0][..]),
            ("registry.Service", &[0x2a, 0]),
            ("registry.Service", &[0x22, 2, 0x12, 0]),
            ("store.BatchRequest", &[0x0a, 0]),
            ("runtime.CreateRequest", &[0x12, 2, 0x0a, 0]),
        ] {
            let bytes = element.repeat(10_000);
            let weight = weigh(message, &bytes).unwrap();
            assert!(weight > 8 * bytes.len(), "{message} {element:?}: {weight}");
        }
    }

    #[test]
    fn a_list_of_one_element_has_room_for_four() {
        // A value with one value in it, and so on.
        let chain = [0x1a, 8, 0x1a, 6, 0x1a, 4, 0x1a, 2, 0x1a, 0];
        let weight = weigh("registry.Value", &chain).unwrap();
        let allocated = 5 * 4 * size_of::<micro_sdk::proto::registry::Value>();
        assert!(weight >= allocated, "{weight} are fewer than {allocated} bytes");
    }

    #[test]
    fn a_group_that_is_not_known_is_passed_over() {
        use prost::Message as _;
        // In it stands what would be an endpoint of one byte, which no endpoint can be.
        let group = [0x73, 0x22, 1, 0xff, 0x74];
        assert!(micro_sdk::proto::registry::Service::decode(&group[..]).is_ok());
        assert_eq!(weigh("registry.Service", &group), Ok(0));
        assert!(weigh("registry.Service", &[&group[..], &group[1..4]].concat()).is_err());
    }

    #[test]
    fn what_is_large_on_the_wire_weighs_little_more() {
        // A record with a value of a million bytes.
        let value = [&[0x12, 0xc0, 0x84, 0x3d][..], &vec![7; 1_000_000]].concat();
        let request = [&[0x0a, 0xc4, 0x84, 0x3d][..], &value].concat();
        let weight = weigh("store.WriteRequest", &request).unwrap();
        assert!((1_000_000..1_001_000).contains(&weight), "{weight}");
    }

    #[test]
    fn the_structures_of_messages_are_at_least_as_large_as_thought() {
        use micro_sdk::proto::{auth, config, registry, runtime, store};
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        for (name, actual) in [
            ("registry.Service", size_of::<registry::Service>()),
            ("registry.Endpoint", size_of::<registry::Endpoint>()),
            ("registry.Node", size_of::<registry::Node>()),
            ("registry.Value", size_of::<registry::Value>()),
            ("store.Change", size_of::<store::Change>()),
            ("store.Record", size_of::<store::Record>()),
            ("auth.Rule", size_of::<auth::Rule>()),
            ("config.SetRequest", size_of::<config::SetRequest>()),
            ("runtime.CreateRequest", size_of::<runtime::CreateRequest>()),
        ] {
            let thought = size(&pool.get_message_by_name(name).unwrap(), 0);
            assert!(thought >= actual && thought <= 2 * actual, "{name}: {thought}, {actual} in fact");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&[0x22][..], &[0x22, 5, 0], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff], &[0xff; 11], &[7]] {
            assert!(weigh("registry.Service", bytes).is_err(), "{bytes:?}");
        }
        let mut deep = vec![0x1a, 0];
        for _ in 0..20 {
            // A value of a value, over and over.
            deep = [&[0x1a, u8::try_from(deep.len()).unwrap()], &deep[..]].concat();
        }
        assert!(weigh("registry.Value", &deep).is_ok());
    }

    #[test]
    fn json_of_many_small_values_is_heavy_and_one_long_text_is_not() {
        let empty = format!("{{\"x\":[{}]}}", ["{\"\":0}"; 1000].join(","));
        assert!(of_json(empty.as_bytes()) > 50 * empty.len());
        let text = format!("{{\"x\":\"{}\"}}", "{[,\\\"".repeat(1000));
        assert!(of_json(text.as_bytes()) < text.len() + 4 * CONTAINER);
    }
}

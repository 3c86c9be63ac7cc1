//! A message that was read from JSON, as protobuf bytes. `prost-reflect` encodes too, but takes −0 for the
//! default of a float and drops it; only +0 has no bits set. Maps are written in the order of their keys,
//! so that the same JSON is the same bytes. Unknown fields are not written: JSON has none.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage, Value,
};

/// Room for a small message, which then grows once at most.
const CAPACITY: usize = 64;

/// The message, encoded.
pub(super) fn message(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::with_capacity(CAPACITY);
    fields(message, &mut out);
    out
}

/// How a field stands on the wire.
struct Form {
    number: u32,
    kind: Kind,
    packed: bool,
    group: bool,
}

impl Form {
    fn of(field: &FieldDescriptor) -> Self {
        Self {
            number: field.number(),
            kind: field.kind(),
            packed: field.is_packed(),
            group: field.is_group(),
        }
    }

    fn of_extension(field: &ExtensionDescriptor) -> Self {
        Self {
            number: field.number(),
            kind: field.kind(),
            packed: field.is_packed(),
            group: field.is_group(),
        }
    }

    /// A field of the entry of a map: 1 for the key, 2 for the value.
    fn of_entry(number: u32, kind: Kind) -> Self {
        Self { number, kind, packed: false, group: false }
    }
}

fn fields(message: &DynamicMessage, out: &mut Vec<u8>) {
    for (field, value) in message.fields() {
        put(&Form::of(&field), value, out);
    }
    for (field, value) in message.extensions() {
        put(&Form::of_extension(&field), value, out);
    }
    for field in message.descriptor().fields().filter(may_lose_a_sign) {
        let value = message.get_field(&field);
        if is_negative_zero(&value) {
            put(&Form::of(&field), &value, out);
        }
    }
}

/// Whether `DynamicMessage::fields` leaves −0 out.
fn may_lose_a_sign(field: &FieldDescriptor) -> bool {
    !field.supports_presence() && !field.is_list() && matches!(field.kind(), Kind::Double | Kind::Float)
}

fn is_negative_zero(value: &Value) -> bool {
    match value {
        Value::F64(number) => *number == 0.0 && number.is_sign_negative(),
        Value::F32(number) => *number == 0.0 && number.is_sign_negative(),
        _ => false,
    }
}

fn put(form: &Form, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::List(items) if form.packed => {
            if !items.is_empty() {
                encode_key(form.number, WireType::LengthDelimited, out);
                delimited(out, |out| items.iter().for_each(|item| bare(&form.kind, item, out)));
            }
        }
        Value::List(items) => items.iter().for_each(|item| one(form, item, out)),
        Value::Map(entries) => {
            let Kind::Message(entry) = &form.kind else { return };
            let key_form = Form::of_entry(1, entry.map_entry_key_field().kind());
            let value_form = Form::of_entry(2, entry.map_entry_value_field().kind());
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                encode_key(form.number, WireType::LengthDelimited, out);
                delimited(out, |out| {
                    one(&key_form, &key.clone().into(), out);
                    one(&value_form, value, out);
                });
            }
        }
        value => one(form, value, out),
    }
}

fn one(form: &Form, value: &Value, out: &mut Vec<u8>) {
    if let (true, Value::Message(group)) = (form.group, value) {
        encode_key(form.number, WireType::StartGroup, out);
        fields(group, out);
        encode_key(form.number, WireType::EndGroup, out);
        return;
    }
    encode_key(form.number, form.kind.wire_type(), out);
    bare(&form.kind, value, out);
}

/// A value without its key.
fn bare(kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    match (value, kind) {
        (Value::Bool(truth), _) => out.push(u8::from(*truth)),
        (Value::I32(number), Kind::Sfixed32) => out.extend(number.to_le_bytes()),
        (Value::I32(number), Kind::Sint32) => encode_varint(zigzag(i64::from(*number)), out),
        (Value::I64(number), Kind::Sfixed64) => out.extend(number.to_le_bytes()),
        (Value::I64(number), Kind::Sint64) => encode_varint(zigzag(*number), out),
        (Value::U32(number), Kind::Fixed32) => out.extend(number.to_le_bytes()),
        (Value::U64(number), Kind::Fixed64) => out.extend(number.to_le_bytes()),
        (Value::I32(number) | Value::EnumNumber(number), _) => {
            encode_varint(i64::from(*number).cast_unsigned(), out);
        }
        (Value::I64(number), _) => encode_varint(number.cast_unsigned(), out),
        (Value::U32(number), _) => encode_varint(u64::from(*number), out),
        (Value::U64(number), _) => encode_varint(*number, out),
        (Value::F32(number), _) => out.extend(number.to_le_bytes()),
        (Value::F64(number), _) => out.extend(number.to_le_bytes()),
        (Value::String(text), _) => text_of(text.as_bytes(), out),
        (Value::Bytes(bytes), _) => text_of(bytes, out),
        (Value::Message(message), _) => delimited(out, |out| fields(message, out)),
        (Value::List(_) | Value::Map(_), _) => {
            unreachable!("the elements of lists and maps are neither lists nor maps")
        }
    }
}

fn text_of(bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign become small ones without a sign.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Content with its length before it. Most lengths fit into one byte, for which room is left.
fn delimited(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    content(out);
    let length = out.len() - start - 1;
    if let Ok(short @ ..0x80) = u8::try_from(length) {
        out[start] = short;
    } else {
        let mut head = Vec::with_capacity(10);
        encode_varint(length as u64, &mut head);
        out.splice(start..=start, head);
    }
}

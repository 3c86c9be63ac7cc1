//! What must hold of any file that is to be restored.

use arbitrary::Unstructured;

use super::{FORMAT, MAGIC, MAX_FRAME, Reader, Unreadable, Writer};
use crate::backend::Entry;

/// Any bytes as a snapshot, any frames with the checksums that they need, and any change of one that is
/// whole: it is refused, or it is one, and then it is the same once it is written again.
pub(crate) fn snapshot(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let bytes = match first % 3 {
        0 => rest.to_vec(),
        1 => framed(rest),
        _ => {
            let mut choice = Unstructured::new(rest);
            let (Ok(at), Ok(byte)) = (choice.arbitrary::<u16>(), choice.arbitrary::<u8>()) else { return };
            let mut whole = framed(choice.take_rest());
            let at = usize::from(at) % whole.len();
            let is_same = whole[at] == byte;
            whole[at] = byte;
            if !is_same {
                assert!(read(&whole).is_err(), "a change of byte {at} was not noticed");
                return;
            }
            whole
        }
    };
    let taken = allocation_counter::measure(|| drop(read(&bytes)));
    let most = 16 * bytes.len() + 2 * MAX_FRAME + 4096;
    assert!(taken.bytes_max <= most as u64, "{} bytes for {}", taken.bytes_max, bytes.len());
    let Ok(records) = read(&bytes) else { return };
    let mut writer = Writer::new("shop");
    for (table, entry) in &records {
        let entry = Entry { key: entry.key.clone(), value: entry.value.clone(), ..*entry };
        writer.record(table, entry).expect("what was read can be written");
    }
    writer.end();
    let again = read(&writer.out).unwrap_or_else(|error| panic!("{error}"));
    let shown = |records: &[(String, Entry)]| {
        let fields = |(table, entry): &(String, Entry)| {
            (table.clone(), entry.key.clone(), entry.value.clone(), entry.expires_at)
        };
        records.iter().map(fields).collect::<Vec<_>>()
    };
    assert_eq!(shown(&again), shown(&records));
}

/// Frames of which an input has the contents, each with its length before it, as a whole snapshot.
fn framed(mut contents: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new("shop");
    while let Some((length, rest)) = contents.split_first() {
        let length = usize::from(*length).min(rest.len());
        if length == 0 {
            break;
        }
        let (content, rest) = rest.split_at(length);
        writer.frame(content);
        writer.records += 1;
        contents = rest;
    }
    writer.end();
    assert!(writer.out.starts_with(MAGIC) && writer.out[MAGIC.len()..].starts_with(&FORMAT.to_le_bytes()));
    writer.out.to_vec()
}

fn read(bytes: &[u8]) -> Result<Vec<(String, Entry)>, Unreadable> {
    let mut reader = Reader::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok(records)
}

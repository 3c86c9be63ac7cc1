//! The frames of an HTTP/2 connection, as far as heads are concerned: a head that comes in several frames
//! is held by the library until the last of them has come, which may be never.

/// The bytes before a frame (RFC 9113, section 4.1), and those of the preface before all of them.
const HEAD: usize = 9;
const PREFACE: usize = 24;
/// Kinds of frames, and the flag of the last one of a head (RFC 9113, section 6).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where in the bytes of a connection its frames are.
#[derive(Debug)]
pub(super) struct Frames {
    /// What is passed over first: the preface, then each payload.
    skip: usize,
    head: [u8; HEAD],
    had: usize,
    /// Bytes of the head that is not whole yet.
    unfinished: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], had: 0, unfinished: 0 }
    }

    /// Follows the frames through some bytes; how many bytes the head has that is not whole then.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let some = self.skip.min(bytes.len());
                (self.skip, bytes) = (self.skip - some, &bytes[some..]);
                continue;
            }
            let some = (HEAD - self.had).min(bytes.len());
            self.head[self.had..self.had + some].copy_from_slice(&bytes[..some]);
            (self.had, bytes) = (self.had + some, &bytes[some..]);
            if self.had == HEAD {
                self.had = 0;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                if kind == HEADERS || kind == CONTINUATION {
                    // As large as it says: the rest of it is on its way.
                    self.unfinished = if flags & END_HEADERS == 0 { self.unfinished + self.skip } else { 0 };
                }
            }
        }
        self.unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let head = [0, 0, length, kind, flags, 0, 0, 0, 1];
        head.into_iter().chain(std::iter::repeat_n(HEADERS, length.into())).collect()
    }

    #[test]
    fn a_head_counts_until_its_last_frame_has_come() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let steps = [
            (frame(4, 0, 30), 0),
            (frame(HEADERS, END_HEADERS, 200), 0),
            (frame(0, 0, 255), 0),
            (frame(HEADERS, 1, 100), 100),
            (frame(CONTINUATION, 0, 50), 150),
            (frame(CONTINUATION, 0, 0), 150),
            (frame(CONTINUATION, END_HEADERS, 50), 0),
            (frame(HEADERS, 0, 10), 10),
        ];
        for step in [1, 7, 1000] {
            let mut frames = Frames::new();
            assert_eq!(frames.follow(preface), 0);
            for (bytes, unfinished) in &steps {
                let last = bytes.chunks(step).map(|piece| frames.follow(piece)).last();
                assert_eq!(last, Some(*unfinished), "{bytes:?} by {step}");
            }
        }
    }
}

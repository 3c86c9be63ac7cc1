#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| micro::fuzzing::run("terminal", input));

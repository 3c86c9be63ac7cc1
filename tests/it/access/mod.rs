//! Who may do what, at every door: tried from outside, against the real binary, with what an attacker
//! would send.

mod canary;
mod doors;
mod identity;
mod matrix;
mod methods;
mod rules;
mod streams;

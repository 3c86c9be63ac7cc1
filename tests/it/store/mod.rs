//! The store, driven through the binary: records, snapshots and blobs, who may what, and what is left
//! after things went wrong.

mod apart;
mod blobs;
mod commands;
mod records;
mod snapshots;
mod support;
mod uploads;

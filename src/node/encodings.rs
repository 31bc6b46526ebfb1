//! The directives that OBJECT ENCODING goes by: up to which sizes Redis packs collections.

use super::config::Config;
use super::directive::{Refusal, number};

/// Redis takes no more.
const SIZE_MAX: u64 = i64::MAX as u64;

pub fn set_hash_entries(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    number(values, 0, SIZE_MAX, &mut config.encodings.hash_max_listpack_entries)
}

pub fn hash_entries(config: &Config) -> String {
    config.encodings.hash_max_listpack_entries.to_string()
}

pub fn set_hash_value(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    number(values, 0, SIZE_MAX, &mut config.encodings.hash_max_listpack_value)
}

pub fn hash_value(config: &Config) -> String {
    config.encodings.hash_max_listpack_value.to_string()
}

//! Texts of sysfs, PCI and UIO against std's parsers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rawmap::device::pci::Address;
use rawmap::device::texts::{bar_of, decimal, hex};

fuzz_target!(|input: (u8, &[u8])| {
    let (bar, text) = input;
    let has_sign = text.contains(&b'+');
    let said = std::str::from_utf8(text).ok().filter(|_| !has_sign);
    assert_eq!(decimal(text), said.and_then(|said| said.parse().ok()));
    let digits = said.map(|said| said.strip_prefix("0x").unwrap_or(said));
    let parsed = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    // Leading zeros beside 16 digits may be refused.
    if digits.is_some_and(|digits| digits.len() <= 16) || parsed.is_none() {
        assert_eq!(hex(text), parsed);
    }
    if let Some(Ok(address)) = said.map(str::parse::<Address>) {
        assert_eq!(
            address.to_string().parse::<Address>().unwrap().to_string(),
            address.to_string()
        );
    }
    if let Ok(found) = bar_of(text, bar) {
        assert!(found.len > 0 && found.address.checked_add(found.len - 1).is_some());
    }
});

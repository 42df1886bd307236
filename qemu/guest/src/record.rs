//! A record that tells whether it is whole.

use oorandom::Rand32;

/// Bytes of a record besides its payload: number, length, and at the end the checksum.
pub const FRAME: usize = 4 + 2 + 4;

/// The longest record.
pub const MOST: usize = 200;

/// Makes a record of a random length, up to [`MOST`] bytes, with a payload that is random, too.
pub fn record(number: u32, random: &mut Rand32) -> Vec<u8> {
    let payload = random.rand_range(16..(MOST - FRAME) as u32 + 1) as u16;
    record_of(number, payload, random)
}

/// Makes one with a random payload of that length.
pub fn record_of(number: u32, payload: u16, random: &mut Rand32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME + usize::from(payload));
    bytes.extend(number.to_le_bytes());
    bytes.extend(payload.to_le_bytes());
    bytes.extend((0..payload).map(|_| random.rand_u32() as u8));
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The number of the record that starts here, if it is whole.
pub fn check(bytes: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let payload = u16::from_le_bytes(bytes.get(4..6)?.try_into().ok()?);
    let end = 6 + usize::from(payload);
    let sum = u32::from_le_bytes(bytes.get(end..end + 4)?.try_into().ok()?);
    (crc32fast::hash(&bytes[..end]) == sum).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_whether_it_is_whole() {
        let mut random = Rand32::new(1);
        for number in 0..200 {
            let bytes = record(number, &mut random);
            assert!(bytes.len() <= MOST);
            assert_eq!(check(&bytes), Some(number));
            for at in 0..bytes.len() {
                let mut torn = bytes.clone();
                torn[at] ^= 0x40;
                assert_eq!(check(&torn), None, "byte {at}");
            }
            assert_eq!(check(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(check(&[0; MOST]), None, "zeros are no record");
    }
}

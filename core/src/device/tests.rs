//! What needs no device: windows over memory that is none.

use super::*;
use crate::protection::Protection;

fn window(len: usize) -> Window {
    let map = MmapOptions::new().len(len).map_anon_shared().unwrap();
    Window { map }
}

#[test]
fn each_width_reads_and_writes_its_bytes_and_no_others() {
    let mut window = window(64);
    window.write(0, 0x11u8).unwrap();
    window.write(2, 0x2233u16).unwrap();
    window.write(4, 0x4455_6677u32).unwrap();
    let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|i| window.read::<u8>(i).unwrap());
    let mut want = [0; 9];
    want[0] = 0x11;
    want[2..4].copy_from_slice(&0x2233u16.to_ne_bytes());
    want[4..8].copy_from_slice(&0x4455_6677u32.to_ne_bytes());
    assert_eq!(bytes, want);
    assert_eq!(window.read::<u16>(2), Ok(0x2233));
    assert_eq!(window.read_pure::<u32>(4), Ok(0x4455_6677));
    window.modify(4, |value: u32| value | 0xff00_0000).unwrap();
    assert_eq!(window.read::<u32>(4), Ok(0xff55_6677));
    #[cfg(target_pointer_width = "64")]
    {
        window.write(8, 0x0123_4567_89ab_cdefu64).unwrap();
        assert_eq!(window.read::<u64>(8), Ok(0x0123_4567_89ab_cdef));
        assert_eq!(
            window.read::<u32>(0),
            Ok(u32::from_ne_bytes([0x11, 0, want[2], want[3]]))
        );
        assert_eq!(window.read::<u32>(16), Ok(0));
    }
}

#[test]
fn what_is_outside_or_crooked_is_an_error() {
    let mut window = window(7);
    let limit = 7;
    let outside = |offset, len| Error::OutOfRange { offset, len, limit };
    assert_eq!(window.read::<u32>(4), Err(outside(4, 4)));
    assert_eq!(window.write(7, 0u8), Err(outside(7, 1)));
    let far = u64::try_from(usize::MAX).unwrap();
    assert_eq!(window.read::<u16>(usize::MAX), Err(outside(far, 2)));
    let crooked = |offset, align| Error::Unaligned { offset, align };
    assert_eq!(window.read::<u16>(1), Err(crooked(1, 2)));
    assert_eq!(window.write(2, 1u32), Err(crooked(2, 4)));
    assert_eq!(window.modify(2, |value: u32| value), Err(crooked(2, 4)));
    assert_eq!(window.read::<u32>(0), Ok(0));
}

#[test]
fn a_window_for_reading_is_not_written() {
    let mut map = MmapOptions::new().len(64).map_anon_shared().unwrap();
    map.protect(Protection::ReadOnly).unwrap();
    let mut window = Window { map };
    assert_eq!(window.read::<u32>(0), Ok(0));
    assert_eq!(window.write(0, 1u32), Err(Error::Protected));
    assert_eq!(window.modify(0, |value: u32| value), Err(Error::Protected));
}

#[cfg(feature = "safe-mmio-v0.3")]
#[test]
fn a_block_of_registers_is_inside_and_aligned() {
    use safe_mmio::fields::{ReadPure, ReadWrite};

    #[repr(C)]
    struct Block {
        control: ReadWrite<u32>,
        status: ReadPure<u16>,
    }
    let mut window = window(64);
    window.write(12, 7u16).unwrap();
    let mut block = window.registers::<Block>(8).unwrap();
    safe_mmio::field!(block, control).write(5);
    assert_eq!(safe_mmio::field_shared!(block, status).read(), 7);
    assert_eq!(window.read::<u32>(8), Ok(5));
    assert!(matches!(
        window.registers::<Block>(2),
        Err(Error::Unaligned {
            offset: 2,
            align: 4
        })
    ));
    assert!(matches!(
        window.registers::<Block>(60),
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        window.registers::<[u32; 17]>(0),
        Err(Error::OutOfRange { .. })
    ));
}

#[cfg(feature = "defmt")]
#[test]
fn errors_have_a_format_for_defmt() {
    fn has<T: defmt::Format>() {}
    has::<Error>();
    has::<Problem>();
    has::<crate::error::Call>();
    has::<crate::error::MayChange>();
}

#[test]
fn slices_are_accesses_in_a_row() {
    let mut window = window(32);
    window.write_slice(2, &[0x1122u16, 0x3344, 0x5566]).unwrap();
    let mut halves = [0u16; 5];
    window.read_slice(0, &mut halves).unwrap();
    assert_eq!(halves, [0, 0x1122, 0x3344, 0x5566, 0]);
    window.barrier();
    window.write_slice(29, &[1u8, 2, 3]).unwrap();
    let mut bytes = [0u8; 4];
    window.read_slice(28, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3]);
    let limit = 32;
    let outside = |offset, len| Error::OutOfRange { offset, len, limit };
    assert_eq!(window.write_slice(28, &[9u32, 9]), Err(outside(28, 8)));
    assert_eq!(window.read_slice(31, &mut [0u8; 2]), Err(outside(31, 2)));
    let crooked = |offset, align| Error::Unaligned { offset, align };
    assert_eq!(window.write_slice(2, &[9u32]), Err(crooked(2, 4)));
    window.read_slice(28, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3]);
    window.read_slice::<u32>(32, &mut []).unwrap();
    assert_eq!(window.write_slice::<u8>(33, &[]), Err(outside(33, 0)));
}

//! Many words of a window at once, and memory of a device that is written combined.

use rawmap::Error;
use rawmap::device::pci::{Function, Kind};
use rawmap::device::{Problem, Window};

use super::{EDU, IVSHMEM, PLAIN, TESTDEV, WILDCARD, counted, function, turn, window};

/// As many accesses as there are values, each of the width that was asked for.
#[test]
fn slices_are_one_access_for_each_value() {
    let Some(_turn) = turn("device::memory::slices_are_one_access_for_each_value") else {
        return;
    };
    let registers = &mut window(&function(TESTDEV), 0);
    // Only what begins at 2048 is counted, and a match is the value of its width.
    let bytes = |w: &mut Window| w.write_slice(2040, &[0xfa_u8; 24]).unwrap();
    assert_eq!(counted(registers, PLAIN, bytes), 1);
    let halves = |w: &mut Window| w.write_slice(2046, &[0xfa_u16; 3]).unwrap();
    assert_eq!(counted(registers, PLAIN, halves), 1);
    // 8 bits ring the bell at 2049, wider ones are counted there: each write that reaches it.
    let bytes = |w: &mut Window| w.write_slice(2048, &[0xfa_u8; 2]).unwrap();
    assert_eq!(counted(registers, WILDCARD, bytes), 0);
    let words = |w: &mut Window| w.write_slice(2044, &[0xfa_u32; 3]).unwrap();
    assert_eq!(counted(registers, WILDCARD, words), 1);
    let mut seen = [0_u32; 3];
    registers.read_slice(4, &mut seen).unwrap();
    assert_eq!(seen[0], 2048 + u32::from(WILDCARD));
    assert_eq!(seen[2], 1);

    // edu takes 32 bits there, and gives all ones to anything else.
    let registers = &mut window(&function(EDU), 0);
    registers.write_slice(4, &[7_u32]).unwrap();
    let mut seen = [0_u32; 2];
    registers.read_slice(0, &mut seen).unwrap();
    assert_eq!(seen, [0x0100_00ed, !7]);
}

#[test]
fn memory_of_a_device_is_written_combined() {
    let Some(_turn) = turn("device::memory::memory_of_a_device_is_written_combined") else {
        return;
    };
    const MEMORY: u8 = 2;
    let combined = |function: &Function, bar| {
        // SAFETY: as in `window`.
        unsafe { function.map_write_combined(bar) }
    };
    // The registers of edu are not prefetchable.
    let refused = combined(&function(EDU), 0).map(drop);
    assert_eq!(refused, Err(Error::Device(Problem::Unmappable { bar: 0 })));
    let function = function(IVSHMEM);
    let prefetchable = true;
    assert_eq!(
        function.bar(MEMORY).unwrap().kind,
        Kind::Memory { prefetchable }
    );
    let mapped = combined(&function, MEMORY);
    if !cfg!(any(
        target_arch = "aarch64",
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "powerpc64"
    )) {
        let bar = MEMORY;
        assert_eq!(
            mapped.map(drop),
            Err(Error::Device(Problem::Unmappable { bar }))
        );
        return;
    }
    let mut memory = mapped.unwrap();
    let words: Vec<u32> = (0..1024).collect();
    let places = [0, 4096, memory.len() - 4096];
    for at in places {
        memory.write_slice(at, &words).unwrap();
    }
    memory.barrier();
    // One kind at a time. QEMU combines nothing: this shows that the file is there, and what it refuses.
    drop(memory);
    let mut plain = window(&function, MEMORY);
    for at in places {
        let mut seen = vec![0; words.len()];
        plain.read_slice(at, &mut seen).unwrap();
        assert_eq!(seen, words);
    }
}

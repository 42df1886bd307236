//! Pages and spans against sums of 128 bits, which do not wrap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rawmap::{PageSize, Span};

fuzz_target!(|input: (u8, usize, usize, usize, usize)| {
    let (bits, offset, len, limit, bytes) = input;
    assert_eq!(PageSize::new(bytes).is_ok(), bytes.is_power_of_two());
    let page = PageSize::from_bits(bits);
    assert_eq!(page.is_ok(), u32::from(bits) < usize::BITS);
    let Ok(page) = page else { return };
    let wide = |number: usize| number as u128;
    let unit = wide(page.get());
    assert_eq!(unit, 1 << bits);
    let fits = |number: u128| usize::try_from(number).ok();

    assert_eq!(
        page.page_end(offset),
        fits((wide(offset) / unit + 1) * unit)
    );
    let start = wide(offset) / unit * unit;
    let end = (wide(offset) + wide(len)).div_ceil(unit) * unit;
    let want = match len {
        0 => Some((fits(start).unwrap(), 0)),
        _ => fits(end).and_then(|_| Some((fits(start)?, fits(end - start)?))),
    };
    assert_eq!(page.cover(offset, len), want);

    let span = Span::new(offset, len, limit);
    assert_eq!(span.is_ok(), wide(offset) + wide(len) <= wide(limit));
    if let Ok(span) = span {
        assert_eq!((span.offset(), span.len()), (offset, len));
        assert_eq!(wide(span.end()), wide(offset) + wide(len));
        assert_eq!(span.pages(page), want);
    }
});

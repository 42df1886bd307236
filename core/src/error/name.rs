//! The names of error numbers, without libc's texts.

use core::fmt;

use super::Errno;

/// Shows an error number by its name in errno(3).
pub(super) struct Name(pub(super) Errno);

/// rustix's names are those of errno(3) without the `E`, but where that is no identifier.
macro_rules! names {
    ($errno:expr, $($name:ident)*) => {
        match $errno {
            Errno::ACCESS => "EACCES",
            $(Errno::$name => concat!("E", stringify!($name)),)*
            _ => "errno",
        }
    };
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = names!(
            self.0,
            PERM NOENT INTR IO NXIO BADF AGAIN NOMEM FAULT BUSY EXIST NODEV INVAL NFILE MFILE TXTBSY
            FBIG NOSPC SPIPE ROFS OVERFLOW NAMETOOLONG NOSYS OPNOTSUPP DQUOT STALE TIMEDOUT HWPOISON NOTTY
            UCLEAN BADMSG NODATA
            REMOTEIO NOLINK ILSEQ BADE TIME PROTO NOTCONN CONNABORTED NOMEDIUM CANCELED LOOP DOM RANGE ISDIR
        );
        write!(f, "{name} ({})", self.0.raw_os_error())
    }
}

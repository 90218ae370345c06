//! Reading and writing ISO base media file boxes (ISO/IEC 14496-12 section 4.2).

use std::fmt;

use bytes::{BufMut, BytesMut};

/// A four-character code: the type of a box, a brand or a sample entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}

/// Big-endian fields of a byte slice; every read is checked.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    pub(super) fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Version and flags of a full box.
    pub(super) fn version_flags(&mut self) -> Option<(u8, u32)> {
        self.u32().map(|v| ((v >> 24) as u8, v & 0x00ff_ffff))
    }
}

/// One box inside another.
#[derive(Clone, Copy)]
pub(super) struct BoxRef<'a> {
    pub(super) kind: FourCc,
    /// Header and body.
    pub(super) raw: &'a [u8],
    pub(super) body: &'a [u8],
}

impl BoxRef<'_> {
    pub(super) fn is(&self, kind: &[u8; 4]) -> bool {
        self.kind.0 == *kind
    }
}

/// A box whose size does not fit the box around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadBox;

/// The boxes that fill `body`, in order. Stops after the first one that does not fit.
pub(super) fn children(body: &[u8]) -> Children<'_> {
    Children { rest: body }
}

pub(super) struct Children<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<BoxRef<'a>, BadBox>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let found = self.split_first();
        if found.is_none() {
            self.rest = &[];
        }
        Some(found.ok_or(BadBox))
    }
}

impl<'a> Children<'a> {
    fn split_first(&mut self) -> Option<BoxRef<'a>> {
        let mut f = Fields::new(self.rest);
        let size32 = f.u32()?;
        let kind = FourCc(f.array()?);
        let (header, size) = match size32 {
            0 => (8, self.rest.len()),
            1 => (16, usize::try_from(f.u64()?).ok()?),
            n => (8, n as usize),
        };
        let (raw, tail) = self.rest.split_at_checked(size)?;
        let body = raw.get(header..)?;
        self.rest = tail;
        Some(BoxRef { kind, raw, body })
    }
}

/// Appends a box whose body is written by `body`. The size field holds 32 bits, which suffices for
/// everything written here.
pub(super) fn put_box(out: &mut BytesMut, kind: &[u8; 4], body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(kind);
    body(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a full box: a box that begins with a version and flags.
pub(super) fn put_full_box(
    out: &mut BytesMut,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut BytesMut),
) {
    put_box(out, kind, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        body(out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boxes_nest_and_are_found_again() {
        let mut out = BytesMut::new();
        put_box(&mut out, b"moov", |o| {
            put_full_box(o, b"mfhd", 1, 0x0203, |o| o.put_u32(7));
            put_box(o, b"free", |_| {});
        });
        let moov = children(&out).next().unwrap().unwrap();
        assert_eq!((moov.kind, moov.raw.len()), (FourCc(*b"moov"), 8 + 16 + 8));
        let inner: Vec<_> = children(moov.body).map(Result::unwrap).collect();
        assert!(inner[0].is(b"mfhd") && inner[1].is(b"free"));
        let mut f = Fields::new(inner[0].body);
        assert_eq!(
            (f.version_flags(), f.u32(), f.u8()),
            (Some((1, 0x0203)), Some(7), None)
        );
    }

    #[test]
    fn a_box_larger_than_its_parent_is_an_error() {
        let mut it = children(&[0, 0, 0, 9, b'a', b'b', b'c', b'd']);
        assert!(it.next().is_some_and(|b| b.is_err()));
        assert!(it.next().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_stay_inside(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = children(&bytes).flatten().map(|b| b.raw.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}

//! Tar headers of every flavour, and hostile ones.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;

fn header(edit: impl FnOnce(&mut Block)) -> Block {
    let mut block = v7_header(b"Ref:12/00000003", 1 << 20);
    edit(&mut block);
    set_sum(&mut block);
    block
}

#[track_caller]
fn check(edit: impl FnOnce(&mut Block), name: &str, size_bytes: u64, kind: MemberKind) {
    let expected = Header { name: name.as_bytes().to_vec(), size_bytes, kind };
    assert_eq!(Header::parse(&header(edit)), Ok(expected));
}

const NAME: &str = "Ref:12/00000003";

#[test]
fn v7_header_is_as_hosts_write_it() {
    let block = v7_header(b"ova.xml", 4660);
    assert_eq!(&block[..8], b"ova.xml\0");
    assert_eq!(&block[100..148], b"0000400\x000000000\x000000000\x0000000011064\x0000000000000\0");
    assert_eq!(&block[148..157], b"0005745\0\0");
    assert_eq!(block[157..], [0; 355]);
}

#[test]
fn headers_of_all_flavours_are_read() {
    check(|_| {}, NAME, 1 << 20, MemberKind::File);
    check(
        |block| block[124..136].copy_from_slice(b"    4000000 "),
        NAME,
        1 << 20,
        MemberKind::File,
    );
    check(
        |block| block[124..136].copy_from_slice(b"400000000000"),
        NAME,
        1 << 35,
        MemberKind::File,
    );
    check(|block| block[124..136].fill(0), NAME, 0, MemberKind::File);
    let base_256 = b"\x80\0\0\0\0\0\x01\0\0\0\0\0";
    check(|block| block[124..136].copy_from_slice(base_256), NAME, 1 << 40, MemberKind::File);
    for (flag, kind) in [
        (b'0', MemberKind::File),
        (b'?', MemberKind::File),
        (b'x', MemberKind::PaxNext),
        (b'g', MemberKind::PaxGlobal),
        (b'L', MemberKind::LongName),
        (b'5', MemberKind::Special),
    ] {
        check(|block| block[156] = flag, NAME, 1 << 20, kind);
    }
}

#[test]
fn prefix_belongs_to_ustar_only() {
    let with_prefix = |magic: &'static [u8; 8]| {
        move |block: &mut Block| {
            block[MAGIC].copy_from_slice(magic);
            block[345..348].copy_from_slice(b"dir");
        }
    };
    check(with_prefix(b"ustar\x0000"), &format!("dir/{NAME}"), 1 << 20, MemberKind::File);
    check(with_prefix(b"ustar  \0"), NAME, 1 << 20, MemberKind::File);
    check(with_prefix(&[0; 8]), NAME, 1 << 20, MemberKind::File);
}

#[test]
fn wrong_numbers_are_refused() {
    let mut block = header(|_| {});
    block[3] ^= 1;
    assert_eq!(Header::parse(&block), Err(TarError::WrongSum));
    for size in [b"00000000008\0", b"0000 000000\0", b"\xFF\0\0\0\0\0\0\0\0\0\0\0"] {
        let block = header(|block| block[124..136].copy_from_slice(size));
        assert_eq!(Header::parse(&block), Err(TarError::WrongSize));
    }
    let huge = b"\x80\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    let block = header(|block| block[124..136].copy_from_slice(huge));
    assert_eq!(Header::parse(&block), Err(TarError::WrongSize));
}

#[test]
fn signed_sums_are_accepted() {
    let mut block = header(|block| block[200] = 0xFF);
    let signed = sum_signed(&block);
    block[SUM].copy_from_slice(format!("{signed:07o}\0").as_bytes());
    assert_eq!(Header::parse(&block).map(|header| header.size_bytes), Ok(1 << 20));
}

#[test]
fn pax_records_tell_name_and_size() {
    let records = b"18 path=some name\n12 size=1234\n11 mtime=1\n";
    assert!(PaxRecords::parse(records).is_err(), "lengths are checked");
    let records = b"18 path=some name\n14 size=12345\n11 mtime=1\n";
    let found = PaxRecords::parse(records).expect("good records");
    assert_eq!(found.name.as_deref(), Some(&b"some name"[..]));
    assert_eq!(found.size_bytes, Some(12345));
    for wrong in ["5 a=b", "6 ab=\nx", "999999999 a=b\n", "14 size=-1234\n", "0 \n", "x", "2 "] {
        assert_eq!(PaxRecords::parse(wrong.as_bytes()), Err(TarError::WrongPax), "{wrong:?}");
    }
}

#[test]
fn numbers_keep_the_style_of_the_template() {
    let spaced = header(|block| {
        block[124..136].copy_from_slice(b"    4000000 ");
        block[148..156].copy_from_slice(b" 12345\0 ");
    });
    let next = relabel(&spaced, b"Ref:12/00000004", 16);
    assert_eq!(&next[124..136], b"         20 ");
    assert_eq!((next[148], &next[154..156]), (b' ', &b"\0 "[..]));
    assert_eq!(Header::parse(&next).map(|header| header.size_bytes), Ok(16));
}

proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes: Vec<u8>, sum: bool) {
        let mut block = [0; BLOCK_LEN];
        let len = bytes.len().min(BLOCK_LEN);
        block[..len].copy_from_slice(&bytes[..len]);
        if sum {
            set_sum(&mut block);
            let parsed = Header::parse(&block);
            prop_assert!(parsed.is_ok() || parsed == Err(TarError::WrongSize));
        }
        let _verdict = Header::parse(&block);
        let _verdict = PaxRecords::parse(&bytes);
    }

    #[test]
    fn relabelled_header_says_what_it_was_told(
        template in proptest::collection::vec(any::<u8>(), BLOCK_LEN),
        size_bytes in 0..1u64 << 62,
    ) {
        let mut template: Block = template.try_into().expect("a block");
        template[156] = 0;
        template[MAGIC].fill(0);
        let header = Header::parse(&relabel(&template, b"Ref:1/00000000", size_bytes));
        if let Ok(header) = header {
            prop_assert_eq!(header.name, b"Ref:1/00000000");
        }
        let _own = relabel(&v7_header(b"", 0), b"a", size_bytes);
        let own = Header::parse(&_own).expect("a good header");
        prop_assert_eq!(own.size_bytes, size_bytes);
    }
}

//! The importer of xapi as a model: everything that it checks is checked, in its order, with no
//! code of the crate.

use std::collections::BTreeMap;

use super::maker::checksum;

/// A VM as the importer would have made it.
#[derive(Debug)]
pub struct Imported {
    pub name_label: String,
    pub macs: Vec<String>,
    /// Disks by the uuid of their VDI.
    pub disks: BTreeMap<String, ImportedDisk>,
}

#[derive(Debug)]
pub struct ImportedDisk {
    pub name_label: String,
    /// Where the VM sees it; `None` for memory.
    pub userdevice: Option<String>,
    pub bytes: Vec<u8>,
}

/// Imports an archive, or says what the importer would have said.
pub fn import(archive: &[u8]) -> Result<Imported, String> {
    let mut tar = Tar { archive, at: 0 };
    let (name, size) = tar.header()?.ok_or("empty archive")?;
    if name != "ova.xml" {
        return Err(format!("IMPORT_ERROR_UNEXPECTED_FILE(ova.xml, {name})"));
    }
    let record = String::from_utf8(tar.data(size)?.to_vec()).map_err(|e| e.to_string())?;
    tar.skip_padding(size)?;
    check_version(&record)?;
    let objects = objects(&record);
    let mut disks = BTreeMap::new();
    let mut chunk_len = None;
    for vdi in expected_vdis(&objects)? {
        let bytes = stream_vdi(&mut tar, &vdi.id, vdi.number("virtual_size")?, &mut chunk_len)?;
        let vbd =
            objects.iter().find(|vbd| vbd.class == "VBD" && vbd.field("VDI") == Some(&vdi.id));
        let userdevice = vbd.and_then(|vbd| vbd.field("userdevice")).map(str::to_owned);
        let name_label = vdi.field("name_label").unwrap_or_default().to_owned();
        let uuid = vdi.field("uuid").ok_or("Field uuid not present in rpc")?.to_owned();
        disks.insert(uuid, ImportedDisk { name_label, userdevice, bytes });
    }
    // The importer does not look, but a whole archive has this and nothing else.
    if archive[tar.at..] != [0; 1024] {
        return Err("the end is not two zero blocks".into());
    }
    let of_class = |class: &'static str| objects.iter().filter(move |o| o.class == class);
    let vm = of_class("VM").next().ok_or("no VM")?;
    let macs = of_class("VIF").filter_map(|vif| vif.field("MAC")).map(str::to_owned).collect();
    let name_label = vm.field("name_label").unwrap_or_default().to_owned();
    Ok(Imported { name_label, macs, disks })
}

struct Object<'a> {
    class: &'a str,
    id: String,
    text: &'a str,
}

impl<'a> Object<'a> {
    fn field(&self, key: &str) -> Option<&'a str> {
        let from = self.text.split_once("<name>snapshot</name>")?.1;
        let value = from.split_once(&format!("<name>{key}</name><value>"))?.1;
        value.split_once("</value>").map(|(value, _)| value)
    }

    fn number(&self, key: &str) -> Result<u64, String> {
        let text = self.field(key).ok_or_else(|| format!("Field {key} not present in rpc"))?;
        text.parse().map_err(|_| format!("{key} is {text:?}"))
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        let from = self.text.split_once(&format!("<name>{key}</name><value><array><data>"));
        let items = from.and_then(|(_, rest)| rest.split_once("</data>")).map_or("", |(l, _)| l);
        items
            .split("<value>")
            .skip(1)
            .filter_map(|item| item.split_once('<'))
            .map(|i| i.0)
            .collect()
    }
}

/// Objects of a record without blanks between tags.
fn objects(record: &str) -> Vec<Object<'_>> {
    let parts = record.split("<member><name>class</name><value>").skip(1);
    parts
        .map(|text| {
            let class = text.split_once('<').map_or("", |(class, _)| class);
            let id = text.split_once("<name>id</name><value>").map_or("", |(_, rest)| rest);
            Object { class, id: id.split_once('<').map_or("", |(id, _)| id).into(), text }
        })
        .collect()
}

fn check_version(record: &str) -> Result<(), String> {
    let value = |key: &str| {
        let rest = record.split_once(&format!("<name>{key}</name><value>")).map(|(_, rest)| rest);
        let number = rest.and_then(|rest| rest.split_once('<')).and_then(|(n, _)| n.parse().ok());
        number.ok_or_else(|| format!("no {key}"))
    };
    let version: (u32, u32) = (value("xapi_major")?, value("xapi_minor")?);
    if version > (1, 249) {
        return Err("IMPORT_INCOMPATIBLE_VERSION".into());
    }
    if value("export_vsn")? != 2 { Err("export_vsn".into()) } else { Ok(()) }
}

/// Rule 5: what must be in the archive, in byte-wise order of ids.
fn expected_vdis<'a>(objects: &'a [Object<'a>]) -> Result<Vec<&'a Object<'a>>, String> {
    let exists = |class: &str, id: &str| objects.iter().any(|o| o.class == class && o.id == id);
    let mut expected = Vec::new();
    for vbd in objects.iter().filter(|o| o.class == "VBD" && o.field("type") != Some("CD")) {
        let vdi = vbd.field("VDI").unwrap_or_default();
        if !exists("VDI", vdi) {
            return Err(format!("IMPORT_ERROR_FAILED_TO_FIND_OBJECT({vdi})"));
        }
    }
    for vdi in objects.iter().filter(|o| o.class == "VDI") {
        let sr = vdi.field("SR").unwrap_or_default();
        if !exists("SR", sr) {
            return Err(format!("IMPORT_ERROR_FAILED_TO_FIND_OBJECT({sr})"));
        }
        let shows = |vbd: &&Object<'_>| {
            vbd.class == "VBD"
                && vbd.field("type") != Some("CD")
                && vbd.field("VDI") == Some(&vdi.id)
        };
        if vdi.field("type") == Some("suspend") || objects.iter().any(|o| shows(&o)) {
            expected.push(vdi);
        }
    }
    for list in objects.iter().filter(|o| o.class == "VM").map(|vm| vm.list("VBDs")) {
        if let Some(gone) = list.iter().find(|id| !exists("VBD", id)) {
            return Err(format!("VBD {gone} is listed and does not exist"));
        }
    }
    expected.sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
    Ok(expected)
}

/// Reads one disk as `stream_vdi.ml` does.
fn stream_vdi(
    tar: &mut Tar<'_>,
    id: &str,
    size: u64,
    chunk_len: &mut Option<u64>,
) -> Result<Vec<u8>, String> {
    let mut disk = Vec::new();
    let mut last_suffix = String::new();
    let mut next_number = 0u64;
    while (disk.len() as u64) < size {
        let (name, len) = tar.header()?.ok_or("PREMATURE_EOF")?;
        let suffix = name.strip_prefix(&format!("{id}/")).ok_or("Invalid XVA file: prefix")?;
        if suffix.len() != 8 || *suffix <= *last_suffix {
            return Err(format!("Invalid XVA file: {suffix} after {last_suffix}"));
        }
        let number: u64 = suffix.parse().map_err(|_| "int_of_string")?;
        let unit = *chunk_len.get_or_insert(len);
        disk.resize(disk.len() + ((number - next_number) * unit) as usize, 0);
        let data = tar.data(len)?;
        // The checksum's header is read here, before the padding of the data is skipped.
        if len % 512 != 0 {
            return Err("the importer loses its way after a chunk of odd length".into());
        }
        let (extension, text) = {
            let (checksum_name, checksum_len) = tar.header()?.ok_or("no checksum")?;
            let extension = checksum_name.strip_prefix(&*name).ok_or("no checksum")?.to_owned();
            let text = tar.data(checksum_len)?.to_vec();
            tar.skip_padding(checksum_len)?;
            (extension, text)
        };
        let sha1 = extension == ".checksum";
        if checksum(sha1, data) != (if sha1 { ".checksum" } else { ".xxhash" }, text_of(text)) {
            return Err(format!("checksum of {name}"));
        }
        disk.extend_from_slice(data);
        if disk.len() as u64 > size {
            return Err("VDI_IO_ERROR".into());
        }
        last_suffix = suffix.to_owned();
        next_number = number + 1;
    }
    Ok(disk)
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Tar<'a> {
    archive: &'a [u8],
    at: usize,
}

impl<'a> Tar<'a> {
    fn data(&mut self, len: u64) -> Result<&'a [u8], String> {
        let end = self.at + len as usize;
        let data = self.archive.get(self.at..end).ok_or("PREMATURE_EOF")?;
        self.at = end;
        Ok(data)
    }

    fn skip_padding(&mut self, len: u64) -> Result<(), String> {
        let padding = len.next_multiple_of(512) - len;
        self.data(padding).map(|_| ())
    }

    /// Name and size of the next V7 member; `None` at a zero block.
    fn header(&mut self) -> Result<Option<(String, u64)>, String> {
        let block = self.data(512)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let octal = |field: &[u8]| {
            let text = String::from_utf8_lossy(field).trim_matches(['\0', ' ']).to_owned();
            u64::from_str_radix(&text, 8).map_err(|_| format!("bad number {text:?}"))
        };
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => u64::from(b' '),
                _ => u64::from(*byte),
            })
            .sum();
        if octal(&block[148..156])? != sum {
            return Err("header checksum".into());
        }
        let name = block[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Some((text_of(name.to_vec()), octal(&block[124..136])?)))
    }
}

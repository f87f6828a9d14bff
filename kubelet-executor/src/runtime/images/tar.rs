//! A writer of plain ustar archives: files, directories, symbolic links, all of root's, all of the epoch.

const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Debug, Default)]
pub(super) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn file(&mut self, path: &str, content: &[u8], mode: u32) {
        self.header(path, content.len(), mode, b'0', "");
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    pub fn directory(&mut self, path: &str, mode: u32) {
        self.header(&format!("{path}/"), 0, mode, b'5', "");
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.header(path, 0, 0o777, b'2', target);
    }

    /// Two empty blocks end an archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn header(&mut self, path: &str, size: usize, mode: u32, kind: u8, target: &str) {
        assert!(path.len() < 100 && target.len() < 100, "our own paths are short: {path}");
        let mut block = [0_u8; BLOCK];
        block[..path.len()].copy_from_slice(path.as_bytes());
        octal(&mut block[100..108], mode as usize);
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], size);
        octal(&mut block[136..148], 0);
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
        octal(&mut block[148..155], sum);
        self.bytes.extend_from_slice(&block);
    }

    fn pad(&mut self) {
        let whole = self.bytes.len().div_ceil(BLOCK) * BLOCK;
        self.bytes.resize(whole, 0);
    }
}

/// Octal digits, zero-filled, with a NUL at the end of the field.
fn octal(field: &mut [u8], value: usize) {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    field[..width].copy_from_slice(&digits.as_bytes()[..width]);
    field[width] = 0;
}

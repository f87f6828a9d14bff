//! Deterministic id generator; the state machine has no other source of randomness.

use kernel_model::{
    ids::{ContainerId, UpdateId},
    operation::OperationUuid,
    random::SplitMix64,
};

/// Generates ids with SplitMix64: ids must differ, not be unpredictable.
#[derive(Debug, Clone)]
pub(crate) struct IdGenerator(SplitMix64);

impl IdGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Ids that only the bearer of this name, which is unique, generates.
    pub(crate) fn named(name: &str) -> Self {
        // FNV-1a.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self::new(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// A version 4 UUID.
    fn uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.0.next_u64().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }

    /// The UUID of an operation.
    pub(crate) fn operation_uuid(&mut self) -> OperationUuid {
        OperationUuid(self.uuid())
    }

    pub(crate) fn update_id(&mut self) -> UpdateId {
        UpdateId(self.uuid())
    }

    pub(crate) fn container_id(&mut self) -> ContainerId {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        let mut text = String::with_capacity(36);
        for (index, byte) in self.uuid().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        ContainerId::new(text)
    }

    /// A duration between half of `limit` and `limit`.
    pub(crate) fn jittered(&mut self, limit: std::time::Duration) -> std::time::Duration {
        let half = limit / 2;
        half + half.mul_f64((self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

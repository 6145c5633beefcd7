//! Items that come and go without the server being told, such as files.

use crate::catalogue::Catalogue;

/// Knows some resources of the catalogue, and keeps them as they are. Asked when somebody lists resources.
pub(crate) trait Source: Send + Sync {
    /// Whether what is listed may be too old. Cheap.
    fn is_due(&self) -> bool;

    /// Looks, and brings the catalogue up to date. Blocks; while another thread does the same it returns at once.
    fn refresh(&self, catalogue: &Catalogue);
}

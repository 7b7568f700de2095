//! What does ONNX Runtime know that `ort` does not pass on? Asked through its C functions.
#![allow(unsafe_code)]
use super::provider::CPU;
use ort::{
    AsPointer,
    device::Device,
    session::Session,
    sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr},
};
use std::{
    ffi::{CStr, c_char},
    ptr,
};

/// A node of a loaded graph, after ONNX Runtime's own changes to it, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedNode {
    /// ONNX Runtime's name for the provider.
    pub(crate) provider: String,
    /// As `Conv`, and with its domain if that is not ONNX's own.
    pub(crate) operator: String,
}

impl PlacedNode {
    pub(crate) fn is_on_cpu(&self) -> bool {
        self.provider == CPU.id
    }
}

/// ONNX Runtime's names for the providers that its library was built with.
pub(super) fn providers() -> Vec<String> {
    let (mut names, mut count) = (ptr::null_mut(), 0);
    let api = ort::api();
    // SAFETY: on success `names` are `count` strings that are ours until they are released below.
    unsafe {
        if checked((api.GetAvailableProviders)(&raw mut names, &raw mut count)).is_err() || names.is_null() {
            return Vec::new();
        }
        let found = (0..count as usize).filter_map(|place| text(*names.add(place))).collect();
        let _ = checked((api.ReleaseAvailableProviders)(names, count)); // it frees, and cannot fail
        found
    }
}

/// What the provider of a device says of itself under `key`.
pub(super) fn metadata(device: &Device<'_>, key: &CStr) -> Option<String> {
    let api = ort::api();
    // SAFETY: the device lives as long as the environment, and what it says as long as the device; it may say nothing.
    unsafe {
        let pairs = (api.EpDevice_EpMetadata)(device.ptr());
        if pairs.is_null() { None } else { text((api.GetKeyValue)(pairs, key.as_ptr())) }
    }
}

/// Where each node of a session runs, which must have been made with `session.record_ep_graph_assignment_info`.
pub(super) fn placed_nodes(session: &Session) -> ort::Result<Vec<PlacedNode>> {
    let api = ort::api();
    let mut found = Vec::new();
    let (mut parts, mut count) = (ptr::null::<*const OrtEpAssignedSubgraph>(), 0);
    // SAFETY: every list and string belongs to the session, which outlives this function.
    unsafe {
        checked((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut parts, &raw mut count))?;
        for place in 0..count {
            let part = *parts.add(place);
            let mut provider = ptr::null();
            checked((api.EpAssignedSubgraph_GetEpName)(part, &raw mut provider))?;
            let provider = text(provider).unwrap_or_default();
            let (mut nodes, mut count) = (ptr::null::<*const OrtEpAssignedNode>(), 0);
            checked((api.EpAssignedSubgraph_GetNodes)(part, &raw mut nodes, &raw mut count))?;
            for place in 0..count {
                let node = *nodes.add(place);
                let (mut domain, mut name) = (ptr::null(), ptr::null());
                checked((api.EpAssignedNode_GetDomain)(node, &raw mut domain))?;
                checked((api.EpAssignedNode_GetOperatorType)(node, &raw mut name))?;
                let name = text(name).unwrap_or_default();
                let operator = match text(domain).as_deref() {
                    None | Some("" | "ai.onnx") => name,
                    Some(domain) => format!("{domain}.{name}"),
                };
                found.push(PlacedNode { provider: provider.clone(), operator });
            }
        }
    }
    Ok(found)
}

/// What a C function reports.
///
/// # Safety
/// `status` comes from a function of ONNX Runtime, and is used once.
unsafe fn checked(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as above.
    unsafe { ort::Error::result_from_status(status) }
}

/// A copy of a C string; `None` for none.
///
/// # Safety
/// `text` is null or ends with a zero.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: as above.
    if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()) }
}

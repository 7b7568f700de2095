//! What are the types of numbers called, and how long are they? `TensorProto.DataType` of onnx.proto.

pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT32: i32 = 6;
pub(crate) const INT64: i32 = 7;
pub(crate) const FLOAT16: i32 = 10;
pub(crate) const BFLOAT16: i32 = 16;
pub(crate) const FLOAT4E2M1: i32 = 23;
pub(crate) const FLOAT8E8M0: i32 = 24;

/// Name and bits of every type, from 0 on.
const TYPES: [(&str, u64); 29] = [
    ("unknown", 0),
    ("float32", 32),
    ("uint8", 8),
    ("int8", 8),
    ("uint16", 16),
    ("int16", 16),
    ("int32", 32),
    ("int64", 64),
    ("string", 0),
    ("bool", 8),
    ("float16", 16),
    ("float64", 64),
    ("uint32", 32),
    ("uint64", 64),
    ("complex64", 64),
    ("complex128", 128),
    ("bfloat16", 16),
    ("float8e4m3fn", 8),
    ("float8e4m3fnuz", 8),
    ("float8e5m2", 8),
    ("float8e5m2fnuz", 8),
    ("uint4", 4),
    ("int4", 4),
    ("float4e2m1", 4),
    ("float8e8m0", 8),
    ("uint2", 2),
    ("int2", 2),
    ("float6e2m3", 6),
    ("float6e3m2", 6),
];

/// The name of a type.
pub(crate) fn name(data_type: i32) -> &'static str {
    row(data_type).0
}

/// The bytes of so many values, packed.
pub(crate) fn bytes(data_type: i32, values: u64) -> u64 {
    (u128::from(values) * u128::from(row(data_type).1)).div_ceil(8).try_into().unwrap_or(u64::MAX)
}

fn row(data_type: i32) -> (&'static str, u64) {
    usize::try_from(data_type).ok().and_then(|index| TYPES.get(index)).copied().unwrap_or(TYPES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_packed() {
        assert_eq!((name(10), bytes(10, 3)), ("float16", 6));
        assert_eq!((name(22), bytes(22, 3)), ("int4", 2));
        assert_eq!((name(-1), bytes(99, u64::MAX)), ("unknown", 0));
        assert_eq!(bytes(15, u64::MAX), u64::MAX);
        assert_eq!((name(25), name(26), name(23)), ("uint2", "int2", "float4e2m1"));
    }
}

//! Characters that POSIX allows in names and SMB reserves (MS-FSCC 2.1.5.2), and the characters of Unicode's private
//! range that are sent for them: the mapping of Services for Mac, which Samba (`vfs_fruit`), macOS and Linux's client use
//! as well.

/// Reserved characters and the characters sent for them. `/` cannot occur in a name.
const RESERVED: [(u16, u16); 8] = [
    (b'"' as u16, 0xF020),
    (b'*' as u16, 0xF021),
    (b':' as u16, 0xF022),
    (b'<' as u16, 0xF023),
    (b'>' as u16, 0xF024),
    (b'?' as u16, 0xF025),
    (b'\\' as u16, 0xF026),
    (b'|' as u16, 0xF027),
];
/// Characters that are reserved at the end of a name only.
const AT_END: [(u16, u16); 2] = [(b' ' as u16, 0xF028), (b'.' as u16, 0xF029)];
/// Control characters are sent with this offset.
const CONTROL_BASE: u16 = 0xF000;

/// Replaces the reserved characters of a name.
pub fn map(name: &mut [u16]) {
    for unit in &mut *name {
        *unit = match *unit {
            control @ 1..=31 => CONTROL_BASE + control,
            other => RESERVED.iter().find(|(plain, _)| *plain == other).map_or(other, |(_, mapped)| *mapped),
        };
    }
    if let Some(last) = name.last_mut() {
        *last = AT_END.iter().find(|(plain, _)| plain == last).map_or(*last, |(_, mapped)| *mapped);
    }
}

/// The unit that a reserved one is sent as, or that such a unit is sent for; any other unit itself. A space and a dot are
/// reserved at the end of a name only.
pub fn swapped(unit: u16, is_last: bool) -> u16 {
    let control = |unit: u16| matches!(unit, 1..=31);
    if control(unit) || control(unit.wrapping_sub(CONTROL_BASE)) {
        return unit ^ CONTROL_BASE;
    }
    let at_end: &[(u16, u16)] = if is_last { &AT_END } else { &[] };
    let pair = RESERVED.iter().chain(at_end).find(|(plain, mapped)| unit == *plain || unit == *mapped);
    pair.map_or(unit, |(plain, mapped)| if unit == *plain { *mapped } else { *plain })
}

/// The character that this one was sent for.
pub fn plain(unit: u16) -> u16 {
    match unit {
        control @ 0xF001..=0xF01F => control - CONTROL_BASE,
        other => RESERVED.iter().chain(&AT_END).find(|(_, mapped)| *mapped == other).map_or(other, |(plain, _)| *plain),
    }
}

//! Time zones and civil times, with Go's rules for times that a zone has twice or not at all.

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};

const DAY: i64 = 86_400;

/// A time zone. The table of zones is part of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone of this name.
    pub fn get(name: &str) -> Option<Zone> {
        TimeZone::get(name).ok().map(Zone)
    }

    /// Seconds that its clocks are ahead of UTC.
    fn offset(&self, at: i64) -> i64 {
        let at = Timestamp::from_second(at).unwrap_or_default();
        i64::from(self.0.to_offset(at).seconds())
    }

    /// What its clocks show.
    pub fn civil(&self, at: i64) -> Civil {
        Civil::of_utc(at + self.offset(at))
    }

    /// When its clocks show a civil time, whose parts may be out of range. A time that they show twice, or not at all, is
    /// one that is right on one side of the transition.
    pub fn at(&self, civil: Civil) -> i64 {
        let local = civil.to_utc();
        let at = local - self.offset(local);
        local - self.offset(at)
    }

    /// A time as RFC 3339 has it, with the offset of the zone.
    pub fn rfc3339(&self, at: i64) -> String {
        let offset = self.offset(at);
        let Civil { year, month, day, hour, minute, second } = Civil::of_utc(at + offset);
        let time = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        match offset / 60 {
            0 => format!("{time}Z"),
            minutes => {
                let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
                format!("{time}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl Civil {
    fn of_utc(seconds: i64) -> Civil {
        let at = Timestamp::from_second(seconds).unwrap_or_default();
        let at = jiff::tz::Offset::UTC.to_datetime(at);
        let [year, month, day] = [i64::from(at.year()), at.month().into(), at.day().into()];
        Civil {
            year,
            month,
            day,
            hour: at.hour().into(),
            minute: at.minute().into(),
            second: at.second().into(),
        }
    }

    /// Seconds since 1970 if it were a time in UTC.
    fn to_utc(self) -> i64 {
        let months = self.year * 12 + self.month - 1;
        let first = |year: i64, month: i64| {
            let (year, month) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?);
            let date = jiff::civil::Date::new(year, month, 1).ok()?;
            Some(jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second())
        };
        let month = first(months.div_euclid(12), months.rem_euclid(12) + 1).unwrap_or(0);
        month + (self.day - 1) * DAY + self.hour * 3600 + self.minute * 60 + self.second
    }

    /// The day of the week; Sunday is 0.
    pub fn weekday(self) -> i64 {
        let days = self.to_utc().div_euclid(DAY);
        // 1 January 1970 was a Thursday.
        (days + i64::from(Weekday::Thursday.to_sunday_zero_offset())).rem_euclid(7)
    }
}

/// A time as in the header `Date` with a numeric zone, which upstream's Events have: `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn rfc1123(at: i64) -> String {
    let at = Timestamp::from_second(at).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn civil_times_of_zones() {
        let berlin = Zone::get("Europe/Berlin").expect("a zone");
        let show = |civil: Civil| berlin.rfc3339(berlin.at(civil));
        let civil = |month, day, hour, minute| Civil { year: 2026, month, day, hour, minute, second: 0 };
        let shown = [
            show(civil(1, 15, 12, 0)),
            show(civil(7, 15, 12, 0)),
            // A month and a day too many.
            show(civil(13, 32, 0, 0)),
            // Not there, and there twice.
            show(civil(3, 29, 2, 30)),
            show(civil(10, 25, 2, 30)),
            Zone::UTC.rfc3339(0),
            Zone::get("America/New_York").expect("a zone").rfc3339(0),
            rfc1123(1_000_000_000),
            format!("{}", Zone::UTC.civil(1_000_000_000).weekday()),
        ];
        expect![[r#"
            2026-01-15T12:00:00+01:00
            2026-07-15T12:00:00+02:00
            2027-02-01T00:00:00+01:00
            2026-03-29T03:30:00+02:00
            2026-10-25T02:30:00+01:00
            1970-01-01T00:00:00Z
            1969-12-31T19:00:00-05:00
            Sun, 09 Sep 2001 01:46:40 +0000
            0"#]]
        .assert_eq(&shown.join("\n"));
        assert!(Zone::get("Europe/Atlantis").is_none());
    }
}

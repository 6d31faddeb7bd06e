//! GET and POST /v2/token: credentials for a token that is good for some repositories and some minutes (distribution's
//! token authentication, and its OAuth2 form). Who asks was found out before, from Basic credentials.

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kernel::{Caller, Grant, Rights};
use model::{Error, Result, Time};
use serde_json::json;

use crate::call::Call;
use crate::place::{Place, filled_in};
use crate::speak::{Answer, Refused, version};

/// Most scopes of a token.
const SCOPES: usize = 32;
/// Most bytes of a form.
const FORM: usize = 64 << 10;

/// Answers with a token for what the caller may of what it asks for; the rest is left out without a word, as clients
/// expect.
pub(crate) async fn answer(call: &Call, head: &Parts, body: Body) -> Answer {
    let scopes: Vec<String> = match head.method {
        Method::GET => call.parameters("scope").map(ToOwned::to_owned).collect(),
        Method::POST => {
            // The OAuth2 form brings the password in its body, where nobody has looked yet: clients go on with GET.
            drop(Limited::new(body, FORM).collect().await);
            let error = Error::unsupported("ask with GET and Basic credentials");
            return Err(Refused::exactly(error, StatusCode::NOT_FOUND, "UNSUPPORTED"));
        }
        _ => {
            let error = Error::unsupported("ask with GET");
            return Err(Refused::exactly(error, StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
        }
    };
    let scopes: Vec<&str> = scopes.iter().flat_map(|scope| scope.split(' ')).filter(|one| !one.is_empty()).collect();
    if scopes.len() > SCOPES {
        return Err(Error::malformed(format!("a token has at most {SCOPES} scopes")).into());
    }
    let mut grants = Vec::new();
    for scope in scopes {
        grants.extend(narrowed(&call.caller, scope, |name| copies(call, name))?);
    }
    let caller = Caller { grants: grants.into(), ..call.caller.clone() };
    let (now, lasts) = (Time::now(), call.settings.token);
    let token = call.hub.make_pass(&caller, now.plus(lasts))?;
    let text = json!({
        "token": token, "access_token": token, "expires_in": lasts.as_secs(), "issued_at": rfc3339(now),
    });
    let mut response = Response::new(Body::from(text.to_string()));
    let headers = response.headers_mut();
    version(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The copies of upstreams' repositories that a name may lead to.
fn copies(call: &Call, name: &str) -> Result<Vec<String>> {
    Ok(Place::copies(call, name)?.into_iter().map(|place| place.repository).collect())
}

/// What of a caller's rights falls under a scope such as `repository:team/app:pull,push`.
fn narrowed(caller: &Caller, scope: &str, copies: impl Fn(&str) -> Result<Vec<String>>) -> Result<Vec<Grant>> {
    let wrong = || Error::malformed("a scope is repository:NAME:pull,push,delete or registry:catalog:*");
    let (kind, rest) = scope.split_once(':').ok_or_else(wrong)?;
    let (name, actions) = rest.rsplit_once(':').ok_or_else(wrong)?;
    // `repository(plugin)` and its like are repositories too.
    let kind = kind.split('(').next().unwrap_or_default();
    let rights = actions.split(',').fold(Rights::NONE, |rights, action| {
        rights
            | match action {
                "pull" => Rights::READ,
                "push" => Rights::READ | Rights::WRITE,
                "delete" => Rights::READ | Rights::DELETE,
                "*" => Rights::READ | Rights::WRITE | Rights::DELETE,
                _ => Rights::NONE,
            }
    });
    let prefixes: Vec<String> = match kind {
        "registry" if name == "catalog" => vec![image::prefix("", "")],
        "repository" => {
            crate::place::check(name)?;
            let name = filled_in(name);
            let own = ["!", "@", ":", "^", "~"].map(|mark| image::prefix(&name, mark));
            let copies = copies(&name)?;
            let copied = copies.iter().flat_map(|copy| ["!", "@", ":"].map(|mark| image::prefix(copy, mark)));
            own.into_iter().chain(copied).collect()
        }
        _ => return Ok(Vec::new()),
    };
    let rights = if kind == "registry" { Rights::READ } else { rights };
    let mut grants = Vec::new();
    for grant in &*caller.grants {
        // Asking by digest alone is a right on the whole namespace, and goes along for mounts.
        let kept = grant.rights.and(rights | Rights::DIGEST | Rights::ADMIN);
        for prefix in &prefixes {
            let prefix = if prefix.starts_with(&grant.prefix) {
                prefix.clone()
            } else if grant.prefix.starts_with(prefix.as_str()) {
                grant.prefix.clone()
            } else {
                continue;
            };
            grants.push(Grant { namespace: grant.namespace.clone(), prefix, rights: kept });
        }
    }
    Ok(grants)
}

/// The time as RFC 3339 writes it, in UTC, to the second.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    let seconds = u64::try_from(time.0 / 1_000_000).unwrap_or(0);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date by Howard Hinnant's algorithm for the proleptic Gregorian calendar.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(grants: &[&str]) -> Caller {
        let grants: Vec<Grant> = grants.iter().map(|grant| grant.parse().expect("a grant")).collect();
        Caller::known("user:a", grants)
    }

    #[test]
    fn a_token_has_no_more_than_its_holder() {
        let of = |grants: &[&str], scope: &str| {
            let found = narrowed(&caller(grants), scope, |_| Ok(Vec::new())).expect("a scope");
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let pulled = of(&["push"], "repository:team/app:pull");
        assert!(pulled.contains(&"read,digest:*:oci/team/app:".to_owned()), "{pulled:?}");
        assert!(pulled.iter().all(|grant| grant.starts_with("read,digest:*:oci/team/app")), "{pulled:?}");
        assert_eq!(of(&["push:main:oci/other/"], "repository:team/app:push"), Vec::<String>::new());
        let some = of(&["pull:main:oci/team/"], "repository:team/app:push,pull");
        assert!(some.contains(&"read,digest:main:oci/team/app!".to_owned()), "{some:?}");
        assert_eq!(of(&["pull"], "registry:catalog:*"), ["read,digest:*:oci/"]);
        for wrong in ["x", "repository:A:pull", "repository:pull"] {
            assert!(narrowed(&caller(&[]), wrong, |_| Ok(Vec::new())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_utc() {
        let at = |seconds: i64| rfc3339(Time(seconds * 1_000_000));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_648_815), "2026-11-25T23:20:15Z");
    }
}

//! Bearer tokens: made once, shown once, hashed at rest, scoped by grants, ending, revocable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{Change, Digest, Error, Result, Time, TokenRow};
use rand::RngExt;
use sha2::{Digest as _, Sha256};

use crate::hub::Hub;
use crate::pass::is_pass;
use crate::rights::{Caller, Grant};

/// How soon a revocation made elsewhere is felt; one made here is felt at once.
const CACHED: Duration = Duration::from_secs(2);
/// Secrets that are remembered, wrong ones among them.
const REMEMBERED: usize = 10_000;
/// Letters of ids and secrets: easy to copy, safe in URLs, headers and files.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Digest, (Instant, Option<Caller>)>>);

fn letters(count: usize) -> String {
    let mut random = rand::rng();
    (0..count).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

fn hash(secret: &str) -> Digest {
    Digest::new(Sha256::digest(secret).into())
}

impl Hub {
    /// The caller that a token stands for; `None` when it is unknown, ended or revoked.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn token_caller(&self, secret: &str) -> Result<Option<Caller>> {
        if is_pass(secret) {
            return Ok(self.pass_caller(secret));
        }
        // The secret has 160 random bits, so that a plain hash is as good as a slow one.
        let hash = hash(secret);
        let lock = || self.tokens().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, caller)) = lock().get(&hash)
            && at.elapsed() < CACHED
        {
            return Ok(caller.clone());
        }
        let row = self.catalog().tokens(Some(hash)).await?.pop();
        let row = row.filter(|row| row.until.is_none_or(|until| until > Time::now()));
        let caller = match row {
            None => None,
            Some(row) => {
                let grants: Vec<Grant> = row.grants.lines().map(str::parse).collect::<Result<_>>()?;
                Some(Caller::known(format!("token:{}", row.id), grants))
            }
        };
        let mut known = lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(hash, (Instant::now(), caller.clone()));
        Ok(caller)
    }

    /// Makes a token. The secret is told here and never again.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn make_token(
        &self,
        label: &str,
        grants: &[Grant],
        until: Option<Time>,
        by: &str,
    ) -> Result<(TokenRow, String)> {
        let id = letters(8);
        let secret = format!("ent_{id}_{}", letters(32));
        let made = Time::now();
        let grants = grants.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let token = TokenRow { id, hash: hash(&secret), label: label.to_owned(), grants, made, until };
        self.catalog().apply(vec![Change::Token { token: token.clone(), at: made, by: by.to_owned() }]).await?;
        Ok((token, secret))
    }

    /// All tokens, ended ones too; never their secrets.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn list_tokens(&self) -> Result<Vec<TokenRow>> {
        self.catalog().tokens(None).await
    }

    /// Ends a token now.
    ///
    /// # Errors
    /// `Absent` when there is no such token.
    pub async fn revoke_token(&self, id: &str, by: &str) -> Result<()> {
        let token = self.catalog().tokens(None).await?.into_iter().find(|token| token.id == id);
        let mut token = token.ok_or_else(|| Error::absent(format!("there is no token {id:?}: see `token list`")))?;
        let now = Time::now();
        token.until = Some(token.until.map_or(now, |until| until.min(now)));
        self.catalog().apply(vec![Change::Token { token, at: now, by: by.to_owned() }]).await?;
        self.tokens().0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

package secrets

import "fmt"

// Method is what an authentication method needs of a password.
type Method int

const (
	// SCRAM is the proof of SCRAM-SHA-256 (RFC 7677).
	SCRAM Method = iota
	// NativeScramble is the hash of mysql_native_password with the server's salt.
	NativeScramble
	// SHA2Scramble is the hash of caching_sha2_password with the server's salt.
	SHA2Scramble
	// Ed25519 is the signature of MariaDB's client_ed25519.
	Ed25519
	// MD5 is the hash of PostgreSQL's md5, which is soon guessed.
	MD5
	// Cleartext is the password itself: PostgreSQL's password, and
	// mysql_clear_password.
	Cleartext
	// SHA2Cleartext is the password itself, as sha256_password and the full
	// authentication of caching_sha2_password send it inside TLS.
	SHA2Cleartext
	// SHA2Encrypted is the password encrypted with the RSA key that the server names,
	// as these two send it without TLS.
	SHA2Encrypted
	// StoredHash is what a server keeps of a password, and is given where the password is
	// changed: the verifier of SCRAM-SHA-256, the hash or the key of MariaDB's plugins.
	StoredHash
)

var methodNames = [...]string{"a SCRAM proof", "a scramble", "a scramble", "a signature", "an MD5 hash", "clear text", "clear text", "encrypted with the key that the server names", "the hash that a server keeps"}

func (m Method) String() string { return methodNames[m] }

// Link is what is known of the connection to a database.
type Link struct {
	Protection Protection
	// PasswordAllowed is the configuration's word that what tells a password, where MySQL
	// knows nothing else, may go to a server that has not proved to be the database. It
	// does not hold for tokens.
	PasswordAllowed bool
}

// Protection is how a connection to a database is protected.
type Protection int

const (
	NotEncrypted Protection = iota
	Encrypted               // by TLS, but to whom nobody knows
	Verified                // TLS, and the far end has proved to be the database
)

func (p Protection) String() string { return [...]string{"not encrypted", "encrypted", "verified"}[p] }

// CredentialKind is what a credential's secret is.
type CredentialKind int

const (
	Password CredentialKind = iota
	Token                   // of IAM: whoever has it logs in, until it expires
)

func (k CredentialKind) String() string { return [...]string{"password", "token"}[k] }

// Kind returns what the credential's secret is: what expires is a token.
func (c *Credential) Kind() CredentialKind {
	if c.Expires.IsZero() {
		return Password
	}
	return Token
}

// needs is the matrix of what may be released: the least protection of the link, by
// method and kind. docs/security.md has it for people, and a test goes through all of it.
//
// A token logs in whoever has it, and IAM sends it as it is: it leaves over verified links
// alone. SCRAM and the scrambles tell neither the password nor what is soon guessed. What
// tells it goes to nobody else than the database, and a password encrypted with a key is
// told to whoever named the key. So does the hash that a server keeps: passwords are
// guessed from it at leisure, and with a login that was overheard it logs in.
var needs = [...][2]Protection{
	SCRAM:          {Password: NotEncrypted, Token: Verified},
	NativeScramble: {Password: NotEncrypted, Token: Verified},
	SHA2Scramble:   {Password: NotEncrypted, Token: Verified},
	Ed25519:        {Password: NotEncrypted, Token: Verified},
	MD5:            {Password: Verified, Token: Verified},
	Cleartext:      {Password: Verified, Token: Verified},
	SHA2Cleartext:  {Password: Verified, Token: Verified},
	SHA2Encrypted:  {Password: Verified, Token: Verified},
	StoredHash:     {Password: Verified, Token: Verified},
}

// allowed is what a password needs on a link with PasswordAllowed, where that is less:
// what the two methods do on a link of each kind.
var allowed = map[Method]Protection{SHA2Cleartext: Encrypted, SHA2Encrypted: NotEncrypted}

// ReleaseError is the refusal to use a credential over a link that is not fit for it.
type ReleaseError struct {
	Method Method
	Link   Link
	Kind   CredentialKind
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("a %s may not be sent as %s over a link that is %s", e.Kind, e.Method, e.Link.Protection)
}

// Release is the one gate through which a password leaves a credential. It calls use
// with the password, and returns what that makes of it for method m, if the link is fit
// for it. Else the error is a *ReleaseError, and use is not called. use keeps nothing
// that tells the password.
func Release[T any](c *Credential, m Method, l Link, use func(password string) (T, error)) (T, error) {
	least := needs[m][c.Kind()]
	if less, ok := allowed[m]; ok && l.PasswordAllowed && c.Kind() == Password {
		least = less
	}
	if l.Protection < least {
		var none T
		return none, &ReleaseError{m, l, c.Kind()}
	}
	return use(c.reveal())
}

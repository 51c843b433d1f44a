package backend

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
	"github.com/credproxy/credproxy/secrets"
)

const (
	// maxAuthSwitches caps how often a database may change its mind about the
	// plugin. Servers do it once.
	maxAuthSwitches = 4
	// maxAuthSteps caps the packets of one login. The longest real one has six.
	maxAuthSteps = 16

	requestPublicKeySHA2   = 2 // caching_sha2_password
	requestPublicKeySHA256 = 1 // sha256_password
	nextFactor             = 2 // AuthNextFactor's first byte
)

// authenticator answers a database's authentication packets in one login or
// COM_CHANGE_USER (page "Authentication Method").
type authenticator struct {
	cred *secrets.Credential
	link secrets.Link

	plugin   string
	salt     []byte
	switches int
	wantKey  bool // the public key was asked for
}

// begin takes up the plugin that the greeting names, for the answer that goes with the
// handshake response.
func (a *authenticator) begin(plugin string, salt []byte) {
	a.plugin, a.salt = plugin, salt
	if plugin != mysql.AUTH_CACHING_SHA2_PASSWORD {
		// The user's own plugin may well be another: the database will say.
		a.plugin = mysql.AUTH_NATIVE_PASSWORD
	}
}

// answer returns the reply to one packet; nil if it wants none. done says that
// the packet is the database's OK.
func (a *authenticator) answer(payload []byte) (reply []byte, done bool, err error) {
	if len(payload) == 0 {
		return nil, false, broken("an empty packet", nil)
	}
	switch payload[0] {
	case mysql.OK_HEADER:
		return nil, true, nil
	case mysql.ERR_HEADER:
		err := refusal(payload, a.cred)
		if se, ok := errors.AsType[*wire.ServerError](err); ok && tookPassword(se.Code) {
			err = secrets.MarkAccepted(err)
		}
		return nil, false, err
	case mysql.EOF_HEADER:
		reply, err = a.switchTo(payload[1:])
	case mysql.MORE_DATE_HEADER:
		reply, err = a.more(payload[1:])
	case nextFactor:
		err = unsupported("a second factor of authentication")
	default:
		err = broken(fmt.Sprintf("packet %#02x out of turn", payload[0]), nil)
	}
	return reply, false, err
}

func unsupported(what string) error {
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for " + what + ", which credproxy cannot do",
		Hint:    "Let the user log in with caching_sha2_password, mysql_native_password, ed25519, or IAM."}
}

// switchTo answers an AuthSwitchRequest (page "Protocol::AuthSwitchRequest").
func (a *authenticator) switchTo(b []byte) ([]byte, error) {
	if a.switches++; a.switches > maxAuthSwitches {
		return nil, broken("endless changes of the authentication plugin", nil)
	}
	if len(b) == 0 {
		return nil, unsupported("the authentication plugin " + mysql.AUTH_MYSQL_OLD_PASSWORD)
	}
	f := wire.Fields{Rest: b}
	a.plugin, a.wantKey = f.Text(), false
	a.salt = f.Rest
	switch a.plugin {
	case mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD, mysql.AUTH_SHA256_PASSWORD:
		// A NUL ends these salts on the wire and is no part of them.
		if a.salt = bytes.TrimSuffix(a.salt, []byte{0}); len(a.salt) != wire.SaltSize {
			return nil, broken(fmt.Sprintf("a salt of %d bytes", len(a.salt)), nil)
		}
	}
	switch a.plugin {
	case mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD:
		return a.scramble()
	case mysql.AUTH_SHA256_PASSWORD:
		return a.cleartextOrKey(requestPublicKeySHA256)
	case mysql.AUTH_CLEAR_PASSWORD:
		return a.release(secrets.Cleartext, terminated)
	case mysql.AUTH_MARIADB_ED25519:
		return a.release(secrets.Ed25519, func(password string) ([]byte, error) {
			reply, err := mysql.CalcEd25519Password(a.salt, password)
			if err != nil {
				return nil, fmt.Errorf("sign for client_ed25519: %w", err)
			}
			return reply, nil
		})
	}
	return nil, unsupported(fmt.Sprintf("the authentication plugin %q", fault.Clip(a.plugin)))
}

// release gives out what a method makes of the password, if the link is fit for it.
func (a *authenticator) release(m secrets.Method, use func(password string) ([]byte, error)) ([]byte, error) {
	reply, err := secrets.Release(a.cred, m, a.link, use)
	if _, unfit := errors.AsType[*secrets.ReleaseError](err); unfit {
		return nil, &fault.Error{Kind: fault.UpstreamAuth,
			Message: "the database asks for the " + a.cred.Kind().String() + " " + forms[m] + ", and the link to it is not verified TLS; the " + a.cred.Kind().String() + " was not sent",
			Hint:    a.unfitHint(m)}
	}
	return reply, err
}

// unfitHint says what an operator would do so that method m may be used.
func (a *authenticator) unfitHint(m secrets.Method) string {
	hint := "Set tls.mode to verify-full for this database in the configuration of credproxy"
	if (m == secrets.SHA2Cleartext || m == secrets.SHA2Encrypted) && a.cred.Kind() == secrets.Password {
		hint += "; or, if nobody can come between, tls.allow_unverified_password to true"
	}
	return hint + "."
}

// forms are the methods in words.
var forms = map[secrets.Method]string{
	secrets.NativeScramble: "as a scramble", secrets.SHA2Scramble: "as a scramble", secrets.Ed25519: "as a signature",
	secrets.Cleartext: "in clear text", secrets.SHA2Cleartext: "in clear text", secrets.SHA2Encrypted: "encrypted with a key that it names",
}

// scramble hashes the password with the salt.
func (a *authenticator) scramble() ([]byte, error) {
	if a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD {
		return a.release(secrets.SHA2Scramble, func(password string) ([]byte, error) {
			return mysql.CalcCachingSha2Password(a.salt, []byte(password)), nil
		})
	}
	return a.release(secrets.NativeScramble, func(password string) ([]byte, error) {
		return mysql.CalcNativePassword(a.salt, []byte(password)), nil
	})
}

// terminated is the password as it is, as IAM demands it too.
func terminated(password string) ([]byte, error) { return append([]byte(password), 0), nil }

// cleartextOrKey sends the password inside TLS, or else asks by the request given for a
// key to encrypt it with (pages "SHA-256 Pluggable Authentication", "Caching SHA-2
// Pluggable Authentication").
func (a *authenticator) cleartextOrKey(request byte) ([]byte, error) {
	if a.link.Protection != secrets.NotEncrypted {
		return a.release(secrets.SHA2Cleartext, terminated)
	}
	a.wantKey = true
	return []byte{request}, nil
}

// more answers an AuthMoreData packet.
func (a *authenticator) more(b []byte) ([]byte, error) {
	switch {
	case a.wantKey:
		a.wantKey = false
		return a.encrypt(b)
	case a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD && len(b) == 1 && b[0] == mysql.CACHE_SHA2_FAST_AUTH:
		return nil, nil // the OK follows
	case a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD && len(b) == 1 && b[0] == mysql.CACHE_SHA2_FULL_AUTH:
		// The database has not seen this user since it started: it needs the
		// password itself.
		return a.cleartextOrKey(requestPublicKeySHA2)
	}
	return nil, broken("authentication data out of turn", nil)
}

// encrypt encrypts the password with the database's public key (RSA-OAEP).
func (a *authenticator) encrypt(key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, broken("a public key that is not PEM", nil)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, broken("a public key that cannot be read", err)
	}
	pub, ok := parsed.(*rsa.PublicKey)
	if !ok || pub.Size() < 256 || pub.Size() > 2048 {
		return nil, broken("a public key that is not RSA of 2,048 to 16,384 bits", nil)
	}
	return a.release(secrets.SHA2Encrypted, func(password string) ([]byte, error) {
		reply, err := mysql.EncryptPassword(password, a.salt, pub)
		if err != nil {
			return nil, broken("encrypting the password", errors.New("it is too long for the key"))
		}
		return reply, nil
	})
}

// run exchanges packets until the database says OK, and returns that packet.
func (a *authenticator) run(c *wire.PacketConn) (ok []byte, err error) {
	for range maxAuthSteps {
		payload, err := c.ReadPacket()
		if err != nil {
			return nil, broken("waiting for the database's answer", err)
		}
		reply, done, err := a.answer(payload)
		if done || err != nil {
			return payload, err
		}
		if reply == nil {
			continue
		}
		if err := c.WritePacket(reply); err != nil {
			return nil, broken("answering the database", err)
		}
	}
	return nil, broken("an endless authentication", nil)
}

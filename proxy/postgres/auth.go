package postgres

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgproto3/v2"
	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/secrets"
)

const (
	mechScram     = "SCRAM-SHA-256"
	mechScramPlus = "SCRAM-SHA-256-PLUS"

	methodMD5       = "md5"
	methodCleartext = "password" // pg_hba.conf's name
)

// authenticator answers the authentication requests of one login.
type authenticator struct {
	cred     *secrets.Credential
	tls      *tls.ConnectionState // nil without TLS
	verified bool                 // the far end is known to be the database
	scram    *scramClients

	conv   *scram.ClientConversation // once SCRAM has begun
	method string                    // for the log: a mechanism, or one of the names below
}

// answer returns the reply to one authentication request, nil for one that wants
// none. done says that the database is satisfied.
func (a *authenticator) answer(m wire.Message) (reply []byte, done bool, err error) {
	body := m.Body()
	if len(body) < 4 {
		return nil, false, broken("an authentication request without a code", nil)
	}
	code := binary.BigEndian.Uint32(body)
	if a.conv != nil && code != pgproto3.AuthTypeSASLContinue && code != pgproto3.AuthTypeSASLFinal && code != pgproto3.AuthTypeOk {
		return nil, false, broken("another authentication request in the middle of SCRAM", nil)
	}
	switch code {
	case pgproto3.AuthTypeOk:
		return nil, true, a.finish()
	case pgproto3.AuthTypeCleartextPassword:
		reply, err = a.cleartext()
	case pgproto3.AuthTypeMD5Password:
		reply, err = a.md5(body)
	case pgproto3.AuthTypeSASL:
		reply, err = a.saslStart(body[4:])
	case pgproto3.AuthTypeSASLContinue:
		reply, err = a.saslContinue(body[4:])
	case pgproto3.AuthTypeSASLFinal:
		err = a.saslFinal(body[4:])
	default:
		err = unsupported(fmt.Sprintf("authentication method %s", methodName(code)))
	}
	return reply, false, err
}

// methodName names the requests that credproxy has no answer to.
func methodName(code uint32) string {
	switch code {
	case 2:
		return "Kerberos V5"
	case 6:
		return "SCM credential"
	case 7:
		return "GSSAPI"
	case 9:
		return "SSPI"
	}
	return strconv.FormatUint(uint64(code), 10)
}

func unsupported(what string) error {
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for " + what + ", which credproxy cannot do",
		Hint:    "Let the database ask for scram-sha-256 (pg_hba.conf), or grant rds_iam to the user."}
}

// finish checks that the database may say that all is well now: with SCRAM under
// way, only after it has proved that it knows the password too.
func (a *authenticator) finish() error {
	if a.conv != nil && !a.conv.Valid() {
		return broken("the database ended SCRAM without proving that it knows the password", nil)
	}
	return nil
}

// needVerified refuses what would tell the password, or a hash of it that is soon
// guessed, to whoever sits in the middle. SCRAM tells neither.
func (a *authenticator) needVerified(what string) error {
	if a.tls != nil && a.verified {
		return nil
	}
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for the password " + what + ", and the link to it is not verified TLS; the password was not sent",
		Hint:    "Set tls.mode to verify-full for this database in the configuration of credproxy."}
}

func (a *authenticator) cleartext() ([]byte, error) {
	if err := a.needVerified("in clear text"); err != nil {
		return nil, err
	}
	a.method = methodCleartext
	return (&pgproto3.PasswordMessage{Password: a.cred.Password()}).Encode(nil)
}

// md5 hashes as the server does: md5(md5(password + user) + salt).
func (a *authenticator) md5(body []byte) ([]byte, error) {
	var req pgproto3.AuthenticationMD5Password
	if err := req.Decode(body); err != nil {
		return nil, broken("an MD5 request that cannot be read", err)
	}
	if err := a.needVerified("as an MD5 hash"); err != nil {
		return nil, err
	}
	a.method = methodMD5
	inner := md5.Sum([]byte(a.cred.Password() + a.cred.Username))
	outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), req.Salt[:]...))
	return (&pgproto3.PasswordMessage{Password: "md5" + hex.EncodeToString(outer[:])}).Encode(nil)
}

// saslStart picks a mechanism and begins (RFC 5802, 7677; section "SASL
// Authentication"). With TLS and -PLUS on offer the login is bound to the
// server's certificate (RFC 5929, tls-server-end-point).
func (a *authenticator) saslStart(list []byte) ([]byte, error) {
	offered, err := wire.ParseMechanisms(list)
	if err != nil {
		return nil, broken("a list of SASL mechanisms that cannot be read", err)
	}
	var plain, plus bool
	for _, m := range offered {
		plain = plain || m == mechScram
		plus = plus || m == mechScramPlus
	}
	if !plain && !plus {
		return nil, unsupported("one of the SASL mechanisms " + strings.Join(offered, ", "))
	}
	client := a.scram.get(a.cred)
	mechanism := mechScram
	switch {
	case a.tls == nil:
		a.conv = client.NewConversation()
	case !plus:
		a.conv = client.NewConversationAdvertisingChannelBinding()
	default:
		binding, err := scram.NewTLSServerEndpointBinding(a.tls)
		if err == nil {
			mechanism, a.conv = mechScramPlus, client.NewConversationWithChannelBinding(binding)
		} else if plain {
			// A certificate whose signature names no hash (Ed25519): the RFC
			// defines no binding, and "y" would read as a downgrade.
			a.conv = client.NewConversation()
		} else {
			return nil, unsupported("channel binding with a certificate that has none")
		}
	}
	a.method = mechanism
	first, err := a.conv.Step("")
	if err != nil {
		return nil, fmt.Errorf("begin scram: %w", err)
	}
	return (&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)}).Encode(nil)
}

func (a *authenticator) saslContinue(challenge []byte) ([]byte, error) {
	if a.conv == nil {
		return nil, broken("a SCRAM challenge out of turn", nil)
	}
	if err := wire.CheckChallenge(challenge, a.tls != nil && a.verified); err != nil {
		return nil, broken("a SCRAM challenge that is not acceptable", err)
	}
	reply, err := a.conv.Step(string(challenge))
	if err != nil {
		a.scram.forget(a.cred)
		return nil, broken("a SCRAM challenge that is not acceptable", err)
	}
	return (&pgproto3.SASLResponse{Data: []byte(reply)}).Encode(nil)
}

func (a *authenticator) saslFinal(proof []byte) error {
	if a.conv == nil || len(proof) > wire.MaxScramMessage {
		return broken("a SCRAM proof out of turn", nil)
	}
	if _, err := a.conv.Step(string(proof)); err != nil || !a.conv.Valid() {
		a.scram.forget(a.cred)
		return broken("the database does not prove that it knows the password", err)
	}
	return nil
}

// scramClients keeps one SCRAM client per credential: it caches the derived
// keys, which saves 4,096 rounds of hashing per login.
type scramClients struct {
	mu      sync.Mutex
	clients map[*secrets.Credential]*scram.Client
}

// maxScramClients is more than the versions of a secret that are in use at once.
const maxScramClients = 8

func (s *scramClients) get(cred *secrets.Credential) *scram.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[cred]; c != nil {
		return c
	}
	// The server takes the user from the startup packet and ignores this one,
	// which libpq leaves empty too.
	c, _ := scram.SHA256.NewClientUnprepped("", saslprep(cred.Password()), "") // never fails
	if s.clients == nil || len(s.clients) >= maxScramClients {
		s.clients = map[*secrets.Credential]*scram.Client{}
	}
	s.clients[cred] = c.WithMinIterations(1) // checkChallenge looks at them
	return c
}

// forget drops the keys derived for a server that then failed to prove itself,
// so that it cannot fill the memory with one salt after another.
func (s *scramClients) forget(cred *secrets.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, cred)
}

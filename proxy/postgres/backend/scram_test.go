package backend

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

func TestScramKeysAreDerivedOncePerCredential(t *testing.T) {
	get := func(k *ScramKeys, cred *secrets.Credential) *scram.Client {
		c, err := k.client(cred, secrets.Link{Protection: secrets.Verified})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cred := secrets.NewCredential("app", "planted")
	var k ScramKeys
	a, b := get(&k, cred), get(&k, cred)
	if a != b {
		t.Error("two clients for one credential")
	}
	k.forget(cred)
	if get(&k, cred) == a {
		t.Error("forgotten keys are still used")
	}
	for range 100 {
		get(&k, secrets.NewCredential("app", "x"))
	}
	if len(k.clients) > maxScramClients {
		t.Errorf("%d clients held", len(k.clients))
	}
	// What SASLprep refuses is used as it is, like libpq does.
	if get(&k, secrets.NewCredential("app", "\x01\xff")) == nil {
		t.Error("no client for a password that SASLprep refuses")
	}
}

// TestSaltsOfAServerThatProvesNothing has a server ask for SCRAM with a new salt each time
// and then say anything but a proof. Nothing that was derived for it is kept; what was
// derived for one that proves that it knows the password is.
func TestSaltsOfAServerThatProvesNothing(t *testing.T) {
	cred := secrets.NewCredential("app", "planted")
	var keys ScramKeys
	for i, end := range []string{
		frame('E', "SFATAL\x00C28P01\x00Mno\x00\x00"), "", frame('N', "Mlater\x00\x00"), "R\x00\x00\x00\x08\x00\x00\x00\x00",
		frame('R', "\x00\x00\x00\x0cv=eA=="), frame('R', "\x00\x00\x00\x05salt"),
	} {
		err := authenticated(t, &keys, cred, func(r *bufio.Reader, send func(string)) {
			send(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
			m, _ := wire.ReadMessage(r)
			_, nonce, _ := strings.Cut(string(m.Body()), ",r=")
			salt := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "salt of 16 bytes %d", i))
			send(frame('R', "\x00\x00\x00\x0br="+nonce+"x,s="+salt+",i=4096"))
			_, _ = wire.ReadMessage(r)
			send(end)
		})
		if err == nil || len(keys.clients) != 0 {
			t.Errorf("after %q: error %v, %d clients kept", end, err, len(keys.clients))
		}
	}

	client, err := scram.SHA256.NewClient("", "planted", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt of 16 bytes", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Fatal(err)
	}
	err = authenticated(t, &keys, cred, func(r *bufio.Reader, send func(string)) {
		conv := server.NewConversation()
		send(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
		m, _ := wire.ReadMessage(r)
		first, _ := conv.Step(string(m.Body()[len("SCRAM-SHA-256")+5:]))
		send(frame('R', "\x00\x00\x00\x0b"+first))
		m, _ = wire.ReadMessage(r)
		proof, _ := conv.Step(string(m.Body()))
		send(frame('R', "\x00\x00\x00\x0c"+proof) + "R\x00\x00\x00\x08\x00\x00\x00\x00")
	})
	if err != nil || len(keys.clients) != 1 {
		t.Errorf("with a server that knows the password: %v, %d clients kept", err, len(keys.clients))
	}
}

// authenticated logs in with cred at a server that runs script.
func authenticated(t *testing.T, keys *ScramKeys, cred *secrets.Credential, script func(r *bufio.Reader, send func(string))) error {
	t.Helper()
	ours, theirs := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	_, _ = ours.SetDeadline(deadline), theirs.SetDeadline(deadline)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		script(bufio.NewReader(theirs), func(s string) { _, _ = theirs.Write([]byte(s)) })
	}()
	c := &Conn{Conn: ours, TCP: ours, Cred: cred, r: bufio.NewReader(ours), began: time.Now()}
	err := c.authenticate(Params{Dialer: &upstream.Dialer{Mode: config.Disable}, Keys: keys}, nil)
	_ = ours.Close()
	<-done
	return err
}

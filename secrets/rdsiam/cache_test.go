package rdsiam_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/rdsiam"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

// counted is a source that counts the tokens it makes.
type counted struct {
	secrets.Source
	minted atomic.Int64
}

func (c *counted) Fetch(ctx context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	cred, err := c.Source.Fetch(ctx, stage)
	if err == nil {
		c.minted.Add(1)
	}
	return cred, err
}

// startCache runs a cache over the source that the environment describes.
func startCache(t *testing.T) (*secrets.Cache, *counted) {
	t.Helper()
	source, err := rdsiam.New(t.Context(), rdsiam.Options{User: "app", Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	src := &counted{Source: source}
	c := secrets.New(src, secrets.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	return c, src
}

// tokenLogin logs in where RDS would look at the token: when it was signed, and,
// as the keys of these tests tell by their id, when its signer expires.
func tokenLogin(c *secrets.Cache) error {
	return c.Login(context.Background(), func(_ context.Context, cred *secrets.Credential) error {
		token, err := url.Parse("https://" + secretstest.Reveal(cred))
		if err != nil {
			return err
		}
		signed, err := time.Parse("20060102T150405Z", token.Query().Get("X-Amz-Date"))
		if err != nil {
			return err
		}
		key, _, _ := strings.Cut(token.Query().Get("X-Amz-Credential"), "/")
		expires := signed.Add(15 * time.Minute)
		if unix, ok := strings.CutPrefix(key, keyPrefix); ok {
			n, err := strconv.ParseInt(unix, 10, 64)
			if err != nil {
				return err
			}
			if signer := time.Unix(n, 0); signer.Before(expires) {
				expires = signer
			}
		}
		if !time.Now().Before(expires) {
			return secrets.MarkRejected(fmt.Errorf("the token expired at %v, and it is %v", expires, time.Now()))
		}
		return nil
	})
}

const keyPrefix = "ASIAUNTIL"

// TestTokensAreMintedAsNeeded counts the tokens that 10,000 logins in ten hours
// need: one each 13 minutes.
func TestTokensAreMintedAsNeeded(t *testing.T) {
	setEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		c, src := startCache(t)
		for i := range 10_000 {
			if err := tokenLogin(c); err != nil {
				t.Fatalf("login %d: %v", i, err)
			}
			time.Sleep(10 * time.Hour / 10_000)
		}
		if n := src.minted.Load(); n < 46 || n > 48 {
			t.Errorf("%d tokens for 10,000 logins in 10 h, want 47", n)
		}
	})
}

// TestTokensOfAShortLivedSigner has AWS credentials that live for two minutes.
// 10,000 logins in an hour need a token for each, and no login has one of a
// signer that has expired, also when its source has no newer ones.
func TestTokensOfAShortLivedSigner(t *testing.T) {
	setEnvironment(t)
	dir := t.TempDir()
	output, config := filepath.Join(dir, "output"), filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("[profile p]\ncredential_process = cat "+output+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": config, "AWS_PROFILE": "p"} {
		t.Setenv(name, value)
	}
	synctest.Test(t, func(t *testing.T) {
		renew := func() {
			expires := time.Now().Add(2 * time.Minute).Truncate(time.Second)
			document := fmt.Sprintf(`{"Version":1,"AccessKeyId":"%s%d","SecretAccessKey":"s","SessionToken":"t","Expiration":%q}`,
				keyPrefix, expires.Unix(), expires.UTC().Format(time.RFC3339))
			if err := os.WriteFile(output+".new", []byte(document), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(output+".new", output); err != nil { // it may be being read
				t.Fatal(err)
			}
		}
		renew()
		c, src := startCache(t)
		for i := range 10_000 {
			if i%5 == 0 {
				renew()
			}
			if err := tokenLogin(c); err != nil {
				t.Fatalf("login %d: %v", i, err)
			}
			time.Sleep(time.Hour / 10_000)
		}
		n := src.minted.Load()
		t.Logf("%d tokens in an hour", n)
		if n < 60 || n > 80 {
			t.Errorf("%d tokens in an hour, want one or a few more each minute", n)
		}

		last, failed := time.Now(), 0
		for time.Since(last) < 3*time.Minute { // no newer ones
			var own *secrets.Error
			switch err := tokenLogin(c); {
			case err == nil && time.Since(last) > 2*time.Minute:
				t.Fatalf("logged in %v after the last credentials were made", time.Since(last))
			case secrets.IsRejected(err) || err != nil && !errors.As(err, &own):
				t.Fatalf("login: %v", err)
			case err != nil:
				failed++
			}
			time.Sleep(5 * time.Second)
		}
		if failed < 10 {
			t.Errorf("%d logins failed without a signer that lives", failed)
		}
		renew()
		time.Sleep(3 * time.Second) // a source that fails is left alone for 2 s at a time
		if err := tokenLogin(c); err != nil {
			t.Errorf("login when there are newer ones again: %v", err)
		}
	})
}

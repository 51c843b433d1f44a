package awsstub

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	maxToken        = 8 << 10 // a token with a session token inside is under 2 KiB
	maxTokenExpires = 900
	connectAction   = "rds-db:connect"
)

// VerifyRDSToken decides as RDS does whether token lets user connect to host:port at the time now. The host is the one
// the token was signed for, which RDS compares with the instance's own endpoint
// (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html).
// RDS itself tells the client nothing but that authentication failed; the error here says why.
func (s *Server) VerifyRDSToken(token, host string, port int, user string, now time.Time) error {
	u, err := parseToken(token)
	if err != nil {
		return err
	}
	if want := net.JoinHostPort(host, strconv.Itoa(port)); u.Host != want {
		return fmt.Errorf("token is for endpoint %q, not %q", u.Host, want)
	}
	query, err := singleValues(u.RawQuery)
	if err != nil {
		return err
	}
	if query["Action"] != "connect" {
		return fmt.Errorf("token's action is %q, not connect", query["Action"])
	}
	if query["DBUser"] != user {
		return fmt.Errorf("token is for user %q, not %q", query["DBUser"], user)
	}
	signed, err := tokenTime(query, now)
	if err != nil {
		return err
	}
	sc, err := s.tokenScope(query, signed)
	if err != nil {
		return err
	}
	id, err := s.tokenIdentity(sc.key, query["X-Amz-Security-Token"], now)
	if err != nil {
		return err
	}
	if err := checkTokenSignature(u, id, sc, signed, query["X-Amz-Signature"]); err != nil {
		return err
	}
	return id.allowed(connectAction, "arn:aws:rds-db:"+s.region+":"+AccountID+":dbuser:*/"+user)
}

func parseToken(token string) (*url.URL, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("token has %d bytes, over %d", len(token), maxToken)
	}
	if strings.Contains(token, "://") {
		return nil, errors.New("token has a scheme")
	}
	u, err := url.Parse("https://" + token)
	if err != nil {
		return nil, errors.New("token is not a URL without its scheme") // the cause would show the token
	}
	if u.User != nil || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, errors.New("token is not of the form host:port/?query")
	}
	return u, nil
}

// singleValues reads a query in which nothing may be said twice.
func singleValues(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("token's query cannot be read")
	}
	single := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) != 1 {
			return nil, fmt.Errorf("token's parameter %q is given more than once", name)
		}
		single[name] = v[0]
	}
	return single, nil
}

func tokenTime(query map[string]string, now time.Time) (time.Time, error) {
	seconds, err := strconv.Atoi(query["X-Amz-Expires"])
	if err != nil || seconds < 1 || seconds > maxTokenExpires {
		return time.Time{}, fmt.Errorf("token's X-Amz-Expires is %q, not 1 to %d seconds", query["X-Amz-Expires"], maxTokenExpires)
	}
	signed, err := time.Parse(dateLayout, query["X-Amz-Date"])
	if err != nil {
		return time.Time{}, fmt.Errorf("token's X-Amz-Date %q is not a time", query["X-Amz-Date"])
	}
	end := signed.Add(time.Duration(seconds) * time.Second)
	if !now.Before(end) {
		return time.Time{}, fmt.Errorf("token expired at %s", end.Format(time.RFC3339))
	}
	if signed.After(now.Add(maxSkew)) {
		return time.Time{}, fmt.Errorf("token is not valid yet: signed at %s", signed.Format(time.RFC3339))
	}
	return signed, nil
}

func (s *Server) tokenScope(query map[string]string, signed time.Time) (scope, error) {
	sc, ok := parseScope(query["X-Amz-Credential"])
	switch {
	case query["X-Amz-Algorithm"] != algorithm:
		return sc, fmt.Errorf("token's algorithm is %q, not %s", query["X-Amz-Algorithm"], algorithm)
	case !ok:
		return sc, errors.New("token's X-Amz-Credential is not key/date/region/service/aws4_request")
	case sc.service != "rds-db":
		return sc, fmt.Errorf("token is scoped to service %q, not rds-db", sc.service)
	case sc.region != s.region:
		return sc, fmt.Errorf("token is scoped to region %q, not %s", sc.region, s.region)
	case sc.date != signed.Format("20060102"):
		return sc, fmt.Errorf("token's scope is of day %q, its X-Amz-Date of %s", sc.date, signed.Format("20060102"))
	case query["X-Amz-SignedHeaders"] != "host":
		return sc, fmt.Errorf("token's signed headers are %q, not host", query["X-Amz-SignedHeaders"])
	}
	return sc, nil
}

func (s *Server) tokenIdentity(key, sessionToken string, now time.Time) (Identity, error) {
	id, ok := s.principals.identity(key)
	switch {
	case !ok:
		return id, fmt.Errorf("token is signed with an unknown access key %q", key)
	case subtle.ConstantTimeCompare([]byte(id.SessionToken), []byte(sessionToken)) == 0:
		return id, errors.New("token's session token does not belong to its access key")
	case id.expired(now):
		return id, fmt.Errorf("the credentials that signed the token expired at %s", id.Expires.Format(time.RFC3339))
	}
	return id, nil
}

// checkTokenSignature presigns the token's own URL again.
func checkTokenSignature(u *url.URL, id Identity, sc scope, signed time.Time, signature string) error {
	query := u.Query()
	query.Del("X-Amz-Signature")
	unsigned := *u
	unsigned.RawQuery = query.Encode()
	again := &http.Request{Method: http.MethodGet, URL: &unsigned, Host: u.Host, Header: make(http.Header)}
	uri, _, err := v4.NewSigner().PresignHTTP(context.Background(), id.credentials(), again, payloadHash(nil), sc.service, sc.region, signed)
	if err != nil {
		return fmt.Errorf("sign the token again: %w", err)
	}
	want, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("read the token signed again: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(want.Query().Get("X-Amz-Signature")), []byte(signature)) == 0 {
		return errors.New("token's signature does not match")
	}
	return nil
}

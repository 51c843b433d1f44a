package awsstub

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// AccountID is the one account there is.
const AccountID = "123456789012"

// DefaultRegion is the region when Options names none.
const DefaultRegion = "eu-west-1"

// Options may be left zero.
type Options struct {
	Listen     string            // host:port; default 127.0.0.1:0
	Region     string            // default DefaultRegion
	Identities []Identity        // long-term keys; default one IAM user with a random key
	Roles      []Role            // added to TaskRole and InstanceRole, which always exist
	Secrets    map[string]string // name to value, created at start
	Now        func() time.Time  // the service's clock; default time.Now
	OnCall     func(Call)        // told of each finished call, on the goroutine that served it
}

// Server is a running stand-in. Its methods may be called from any goroutine. Methods that name a secret or an
// operation panic when there is none of that name: in a test that is a slip, which a quiet zero would hide.
type Server struct {
	region     string
	now        func() time.Time
	url        string
	http       *http.Server
	operations map[string]operation
	calls      *callLog
	faults     *faultQueue
	principals *principals

	containerPath, containerToken string
	metadataTokens                *metadataTokens
	queues                        *queues
	databases                     *databases
	hooks                         hooks

	closing sync.Once
	stop    chan struct{} // closed by Close; releases hanging calls
	served  chan struct{} // closed when the accept loop has ended
	conns   sync.WaitGroup

	mu      sync.Mutex // guards secrets
	secrets map[string]*Secret
}

// Start listens and serves until Close.
func Start(opts Options) (*Server, error) {
	s := newServer(opts) // nobody else has it yet, so nothing needs the lock
	for name, value := range opts.Secrets {
		if _, err := s.create(name, &Version{ID: newVersionID(), Text: &value}); err != nil {
			return nil, fmt.Errorf("create secret %q: %w", name, err)
		}
	}
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for AWS calls: %w", err)
	}
	s.url = "http://" + ln.Addr().String()
	s.http = &http.Server{Handler: s, ConnState: s.count, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		MaxHeaderBytes: 32 << 10}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(ln) // ends with http.ErrServerClosed
	}()
	return s, nil
}

func newServer(opts Options) *Server {
	s := &Server{
		region:         opts.Region,
		now:            opts.Now,
		faults:         newFaultQueue(),
		containerPath:  "/v2/credentials/" + uuid.NewString(),
		containerToken: randomText(40),
		stop:           make(chan struct{}),
		served:         make(chan struct{}),
		secrets:        make(map[string]*Secret),
	}
	if s.region == "" {
		s.region = DefaultRegion
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.operations = operations()
	s.calls = newCallLog(opts.OnCall)
	s.principals = newPrincipals(opts.Identities, opts.Roles)
	s.metadataTokens = newMetadataTokens()
	s.queues = newQueues()
	s.databases = &databases{}
	s.hooks.lifetime, s.hooks.end = context.WithCancel(context.Background())
	return s
}

// Close stops the server, releases calls that hang, and returns when no connection is served and no rotation runs any
// more. It may be called twice.
func (s *Server) Close() {
	s.closing.Do(func() { close(s.stop) })
	s.hooks.end()
	_ = s.http.Close() // the listener is gone either way
	<-s.served
	s.conns.Wait()
	s.hooks.rotations.Wait()
}

// count keeps conns. A connection's goroutine starts after it is new and is as good as over when it is closed.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed:
		s.conns.Done()
	}
}

// URL is the endpoint for every service, such as http://127.0.0.1:40123.
func (s *Server) URL() string { return s.url }

// Region is the region all ARNs and credential scopes must name.
func (s *Server) Region() string { return s.region }

// Env is the environment that makes an AWS SDK or the AWS CLI use this server with the first identity's key.
// It also shuts out whatever credentials the machine itself has.
func (s *Server) Env() []string {
	id := s.principals.first()
	return append(s.baseEnv(),
		"AWS_ACCESS_KEY_ID="+id.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+id.SecretAccessKey,
		"AWS_SESSION_TOKEN="+id.SessionToken,
		"AWS_EC2_METADATA_DISABLED=true",
	)
}

// ContainerEnv is Env for a process that gets its credentials as an ECS task does, from the container endpoint.
func (s *Server) ContainerEnv() []string {
	return append(s.keylessEnv(),
		"AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.url+s.containerPath,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN="+s.containerToken,
		"AWS_EC2_METADATA_DISABLED=true",
	)
}

// InstanceEnv is Env for a process that gets its credentials as one on EC2 does, from the metadata service.
func (s *Server) InstanceEnv() []string {
	return append(s.keylessEnv(),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT="+s.url,
		"AWS_EC2_METADATA_DISABLED=false",
	)
}

// WebIdentityEnv is Env for a process in a Kubernetes pod whose service account stands for a role.
func (s *Server) WebIdentityEnv(roleARN, tokenFile string) []string {
	return append(s.keylessEnv(),
		"AWS_ROLE_ARN="+roleARN,
		"AWS_WEB_IDENTITY_TOKEN_FILE="+tokenFile,
		"AWS_EC2_METADATA_DISABLED=true",
	)
}

func (s *Server) keylessEnv() []string {
	return append(s.baseEnv(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN=")
}

func (s *Server) baseEnv() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.url,
		"AWS_ENDPOINT_URL_STS=" + s.url, // the Go SDK's web identity provider takes no heed of the general one
		"AWS_REGION=" + s.region,
		"AWS_PROFILE=",
		"AWS_CA_BUNDLE=",
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

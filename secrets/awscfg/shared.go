package awscfg

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Shared loads configurations that have in common what they can: those of one region
// the pool of connections and the credentials of the process, and those of one role its
// credentials too. So a thousand secrets cost STS as many calls as one does. The zero
// Shared is ready; a nil one shares nothing.
type Shared struct {
	// Log takes what the SDK has to say; nil: standard error does.
	Log *zap.Logger

	mu      sync.Mutex
	bases   map[string]aws.Config // by the region asked for
	signers map[signerKey]*signer
}

// sdkLog returns a logger for the SDK, whose own is not log's.
func sdkLog(log *zap.Logger) logging.Logger {
	return logging.LoggerFunc(func(class logging.Classification, format string, v ...any) {
		level := zapcore.DebugLevel
		if class == logging.Warn {
			level = zapcore.WarnLevel
		}
		log.Log(level, "the SDK of AWS: "+fmt.Sprintf(format, v...))
	})
}

type signerKey struct {
	region string
	role   Role
}

// Load is [Load], for one more configuration.
func (s *Shared) Load(ctx context.Context, opts Options) (*Config, error) {
	if s == nil {
		s = new(Shared)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg, ok := s.bases[opts.Region]
	if !ok {
		var err error
		if cfg, err = loadBase(ctx, opts.Region, s.Log); err != nil {
			return nil, err
		}
		if s.bases == nil {
			s.bases, s.signers = map[string]aws.Config{}, map[signerKey]*signer{}
		}
		s.bases[opts.Region] = cfg
	}
	key := signerKey{opts.Region, opts.Role}
	signs := s.signers[key]
	if signs == nil {
		signs = newSigner(cfg, opts.Role)
		s.signers[key] = signs
	}
	cfg = cfg.Copy()
	cfg.Credentials = signs.cache
	return &Config{AWS: cfg, signer: signs, observe: opts.Observe}, nil
}

// signer caches the AWS credentials that calls are signed with.
type signer struct {
	cache *aws.CredentialsCache
	chain aws.CredentialsProvider // under it, with a cache of its own

	mu      sync.Mutex
	current string // the key id of the credentials that were returned last
}

func newSigner(cfg aws.Config, role Role) *signer {
	var provider aws.CredentialsProvider = base{cfg.Credentials}
	if role.ARN != "" {
		provider = assume(cfg, provider, role)
	}
	return &signer{cache: aws.NewCredentialsCache(provider), chain: cfg.Credentials}
}

func (s *signer) retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := s.cache.Retrieve(ctx)
	if err == nil {
		s.mu.Lock()
		s.current = creds.AccessKeyID
		s.mu.Unlock()
	}
	return creds, err
}

// invalidate forgets the credentials, if they are those that were used: of many who
// hear that they have expired, one has them fetched anew.
func (s *signer) invalidate(used aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != used.AccessKeyID {
		return
	}
	s.current = ""
	s.cache.Invalidate()
	if chain, ok := s.chain.(*aws.CredentialsCache); ok {
		chain.Invalidate()
	}
}

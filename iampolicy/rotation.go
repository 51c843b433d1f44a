package iampolicy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/credproxy/credproxy/config"
)

// Rotation says how the secrets of a configuration are rotated.
type Rotation struct {
	Masters           []string // databases whose secrets are only read: of users who set others' passwords
	Starts            bool     // by who also asks Secrets Manager to rotate: credproxy rotate, credproxy rollback
	RandomPassword    bool     // Secrets Manager makes the passwords
	DescribeDatabases bool     // a secret's host is a replica, and RDS is asked of what
}

// GenerateRotation returns the least policy of who rotates the secrets of cfg, in the
// account that they are in. Notes and incomplete are as those of [Generate].
func GenerateRotation(cfg *config.Config, r Rotation, facts Facts) (policy Document, notes, incomplete []string) {
	n := &needs{facts: facts, roles: map[string]map[string]*Statement{}}
	masters := map[string]bool{}
	for _, name := range r.Masters {
		masters[name] = true
	}
	for i := range cfg.Databases {
		if db := &cfg.Databases[i]; masters[db.Name] {
			n.master(db)
		} else {
			n.rotate(db, r)
		}
	}
	if r.RandomPassword {
		n.allow(OwnRole, "MakePasswords", "*", nil, "secretsmanager:GetRandomPassword") // which knows no resources
	}
	if !r.Starts {
		n.notes = append(n.notes, "the function's role also needs AWS's managed policy AWSLambdaVPCAccessExecutionRole, for its log and its place in a VPC; credproxy policy --trust lambda prints who may take it")
	}
	return newDocument(slices.Collect(maps.Values(n.roles[OwnRole]))...), n.notes, n.incomplete
}

// rotate allows the four steps of a rotation.
func (n *needs) rotate(db *config.Database, r Rotation) {
	actions := []string{"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"}
	if r.Starts {
		actions = insert(actions, "secretsmanager:RotateSecret")
		n.start(db)
	}
	n.use(db, OwnRole, "RotateSecrets", actions, "EncryptSecrets", "kms:Decrypt", "kms:GenerateDataKey")
	if r.DescribeDatabases {
		n.describeDatabases(db)
	}
}

// start allows what Secrets Manager wants of who has it call a rotation function.
func (n *needs) start(db *config.Database) {
	if known := n.facts.Databases[db.Name]; known.RotationFunction != "" {
		n.allow(OwnRole, "StartRotations", known.RotationFunction, nil, "lambda:InvokeFunction")
	} else if known.SecretARN == "" {
		n.notes = append(n.notes, "database "+db.Name+": whether its secret has a rotation function is not known, and who starts one must be allowed lambda:InvokeFunction on it; --lookup asks AWS")
	}
}

// master allows the secret of a user who sets others' passwords to be read. That of a
// master user whom RDS manages names no host, and RDS is asked for it.
func (n *needs) master(db *config.Database) {
	n.secret(db, OwnRole)
	if strings.Contains(n.secretARN(db), ":secret:rds!") {
		n.describeDatabases(db)
	}
}

func (n *needs) secretARN(db *config.Database) string {
	return cmp.Or(n.facts.Databases[db.Name].SecretARN, db.Credentials.SecretsManager.SecretID)
}

// describeDatabases lets RDS be asked about the databases of the secret's account and
// region.
func (n *needs) describeDatabases(db *config.Database) {
	at, err := arn.Parse(n.secretARN(db))
	if err != nil {
		return
	}
	at.Service, at.Resource = "rds", "cluster:*"
	n.allow(OwnRole, "DescribeClusters", at.String(), nil, "rds:DescribeDBClusters")
	at.Resource = "db:*"
	n.allow(OwnRole, "DescribeInstances", at.String(), nil, "rds:DescribeDBInstances")
}

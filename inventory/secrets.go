package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/config"
)

// secret is one that belongs to a database.
type secret struct {
	arn, name string
	managed   bool // by RDS, for the master user
}

// owningTags are the tags by which a secret says whose it is. RDS and Secrets Manager write
// them ("Password management with Amazon RDS and AWS Secrets Manager").
var owningTags = []string{"aws:rds:primaryDBClusterArn", "aws:rds:primaryDBInstanceArn"}

// databaseOf returns the ARN of the database that a secret's tags name, or "".
func databaseOf(s smtypes.SecretListEntry) string {
	for _, t := range s.Tags {
		if slices.Contains(owningTags, aws.ToString(t.Key)) {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// attached returns the secrets of each database, by its ARN: those whose tags name it, and
// those whose value names its host. Those of an application's own users come first.
func (a *Account) attached() map[string][]secret {
	byHost := map[string]string{}
	for _, c := range a.Clusters {
		for _, host := range append([]string{aws.ToString(c.Endpoint), aws.ToString(c.ReaderEndpoint)}, c.CustomEndpoints...) {
			byHost[strings.ToLower(host)] = aws.ToString(c.DBClusterArn)
		}
	}
	for _, i := range a.Instances {
		if i.Endpoint != nil && aws.ToString(i.DBClusterIdentifier) == "" {
			byHost[strings.ToLower(aws.ToString(i.Endpoint.Address))] = aws.ToString(i.DBInstanceArn)
		}
	}
	delete(byHost, "")
	all := map[string][]secret{}
	for _, s := range a.Secrets {
		arn := aws.ToString(s.ARN)
		if owner := cmp.Or(databaseOf(s), byHost[a.Hosts[arn]]); owner != "" && s.DeletedDate == nil {
			all[owner] = append(all[owner], secret{arn, aws.ToString(s.Name), aws.ToString(s.OwningService) != ""})
		}
	}
	for _, some := range all {
		slices.SortFunc(some, func(a, b secret) int {
			if a.managed != b.managed {
				if a.managed {
					return 1
				}
				return -1
			}
			return cmp.Compare(a.name, b.name)
		})
	}
	return all
}

// credential returns where a database's logins come from, a secret or IAM; or why there is
// neither. owners are the ARNs of the database, and of that whose users it has. attached are all
// secrets that belong to it.
func (p *planner) credential(iam bool, master *rdstypes.MasterUserSecret, owners ...string) (from config.Credentials, attached, notes []string, reason string) {
	var found []secret
	several := "" // secrets of which none is the one to take
	for _, owner := range owners {
		own := p.secrets[owner] // those of an application's own users come first
		if len(own) > 1 && !own[1].managed && len(found) == 0 {
			several = fmt.Sprintf("%s, %s", own[0].name, own[1].name)
		}
		found = append(found, own...)
	}
	if master != nil && aws.ToString(master.SecretArn) != "" {
		managed := secret{arn: aws.ToString(master.SecretArn), managed: true}
		if !slices.ContainsFunc(found, func(s secret) bool { return s.arn == managed.arn }) {
			found = append(found, managed)
		}
	}
	for _, s := range found {
		attached = append(attached, s.arn)
	}
	if live := p.Choice.Live; live != nil && len(found) > 0 {
		inUse, served := live.Secrets[owners[0]]
		if i := slices.Index(attached, inUse); i >= 0 {
			found[0], found[i], several = found[i], found[0], ""
		}
		if several != "" && served && inUse == "" && iam {
			found = nil // as ever
		} else if several != "" {
			return from, attached, nil, fmt.Sprintf("several secrets are attached to it (%s), and none of them has been in use; write it under databases with the right one, or leave one attached", several)
		}
	}
	if len(found) > 0 {
		if found[0].managed {
			notes = append(notes, "The secret is the master user's, which RDS rotates. Better is a user of the application's own.")
		}
		for _, other := range found[1:] {
			notes = append(notes, "Another secret of it: "+other.arn)
		}
		from.SecretsManager = &config.SecretsManager{SecretID: found[0].arn, Region: p.Region, AssumeRole: p.Choice.AssumeRole}
		return from, attached, notes, ""
	}
	if iam {
		from.IAM = &config.IAM{User: p.Choice.IAMUser, Region: p.Region, AssumeRole: p.Choice.AssumeRole}
		return from, nil, []string{"IAM: is this the user that may log in with a token? AWS does not know."}, ""
	}
	reason = "no secret is attached to it, and IAM database authentication is off"
	if slices.ContainsFunc(p.Hidden, func(f Failure) bool { return strings.HasPrefix(f.Call, "secretsmanager:") }) {
		reason = "IAM database authentication is off, and of its secrets AWS did not tell"
	} else if p.account.Hosts == nil {
		option := "--read-secrets"
		if p.Choice.Live != nil {
			option = "read_secrets"
		}
		reason += "; " + option + " finds those that name its host"
	}
	return from, nil, nil, reason
}

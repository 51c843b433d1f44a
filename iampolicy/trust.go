package iampolicy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Trust says who may take credproxy's role, or one that credproxy assumes.
type Trust struct {
	Platform        string // ecs, eks, ec2, lambda; role: another role, from any platform
	Account, Region string // narrow it, where AWS lets them
	OIDCProvider    string // eks: the cluster's issuer, for IRSA; "": Pod Identity
	Namespace       string // eks
	ServiceAccount  string // eks
	Role            string // role: the ARN of the one that may take this one
	ExternalID      string // role: that it must give
}

// Policy is the trust policy of a role for the platform. Sources: "IAM roles for
// tasks" (ECS), "EKS Pod Identity" and "IAM roles for service accounts" (EKS),
// "IAM roles for Amazon EC2", "Lambda execution role", "Pass session tags in AWS STS"
// in AWS's guides.
func (t Trust) Policy() (Document, error) {
	if t.Platform != "eks" && (t.OIDCProvider != "" || t.Namespace != "" || t.ServiceAccount != "") {
		return Document{}, errors.New("--oidc-provider, --namespace and --service-account are for --trust eks")
	}
	if t.Platform != "role" && (t.Role != "" || t.ExternalID != "") {
		return Document{}, errors.New("--trusted-role and --external-id are for --trust role")
	}
	switch t.Platform {
	case "ecs":
		s := t.service("ecs-tasks.amazonaws.com", "sts:AssumeRole")
		if t.Account != "" { // against a confused deputy
			s.Condition = s.Condition.with("StringEquals", "aws:SourceAccount", t.Account).
				with("ArnLike", "aws:SourceArn", "arn:"+partitionOf(t.Region)+":ecs:"+cmp.Or(t.Region, "*")+":"+t.Account+":*")
		}
		return newDocument(s), nil
	case "ec2":
		principal := "ec2.amazonaws.com"
		if partitionOf(t.Region) == "aws-cn" {
			principal += ".cn"
		}
		return newDocument(t.service(principal, "sts:AssumeRole")), nil
	case "lambda":
		return newDocument(t.service("lambda.amazonaws.com", "sts:AssumeRole")), nil
	case "eks":
		if t.OIDCProvider != "" {
			return t.webIdentity()
		}
		return t.podIdentity(), nil
	case "role":
		return t.role()
	}
	return Document{}, fmt.Errorf("--trust %s: write ecs, eks, ec2, lambda or role", t.Platform)
}

func (t Trust) service(principal string, actions ...string) *Statement {
	return &Statement{Sid: "TrustThePlatform", Effect: "Allow", Principal: map[string]string{"Service": principal}, Action: actions}
}

// podIdentity lets EKS Pod Identity hand the role to pods.
func (t Trust) podIdentity() Document {
	s := t.service("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
	for tag, value := range map[string]string{"kubernetes-namespace": t.Namespace, "kubernetes-service-account": t.ServiceAccount} {
		if value != "" {
			s.Condition = s.Condition.with("StringEquals", "aws:RequestTag/"+tag, value)
		}
	}
	if t.Account != "" {
		s.Condition = s.Condition.with("StringEquals", "aws:SourceAccount", t.Account)
	}
	return newDocument(s)
}

// webIdentity lets one service account of a cluster take the role (IRSA).
func (t Trust) webIdentity() (Document, error) {
	issuer := strings.TrimPrefix(t.OIDCProvider, "https://")
	provider := arn.ARN{Partition: partitionOf(t.Region), Service: "iam", AccountID: t.Account, Resource: "oidc-provider/" + issuer}
	if parsed, err := arn.Parse(t.OIDCProvider); err == nil {
		provider = parsed
		issuer = strings.TrimPrefix(provider.Resource, "oidc-provider/")
	}
	switch {
	case provider.AccountID == "":
		return Document{}, errors.New("--oidc-provider: whose provider? Give its ARN, or --account")
	case provider.Service != "iam" || provider.Resource != "oidc-provider/"+issuer:
		return Document{}, errors.New("--oidc-provider: neither the cluster's issuer nor the ARN of a provider; write arn:aws:iam::ACCOUNT:oidc-provider/ISSUER")
	case t.Namespace == "" || t.ServiceAccount == "":
		return Document{}, errors.New("--oidc-provider needs --namespace and --service-account: without them every pod of the cluster could take the role")
	}
	s := &Statement{
		Sid: "TrustTheServiceAccount", Effect: "Allow",
		Principal: map[string]string{"Federated": provider.String()},
		Action:    []string{"sts:AssumeRoleWithWebIdentity"},
	}
	s.Condition = s.Condition.with("StringEquals", issuer+":aud", "sts.amazonaws.com").
		with("StringEquals", issuer+":sub", "system:serviceaccount:"+t.Namespace+":"+t.ServiceAccount)
	return newDocument(s), nil
}

// role lets another role take this one. Its session may have transitive tags, which EKS Pod
// Identity gives: they come along or the call is denied. The external id is known
// to AssumeRole only, hence two statements.
func (t Trust) role() (Document, error) {
	trusted, err := arn.Parse(t.Role)
	switch {
	case err != nil || trusted.Service != "iam" || !strings.HasPrefix(trusted.Resource, "role/"):
		return Document{}, errors.New("--trust role needs --trusted-role, the ARN of credproxy's own role: arn:aws:iam::ACCOUNT:role/NAME")
	case t.ExternalID == "":
		return Document{}, errors.New("--trust role needs --external-id, the one of assume_role.external_id")
	}
	principal := map[string]string{"AWS": t.Role}
	return newDocument(
		&Statement{Sid: "TrustCredproxy", Effect: "Allow", Principal: principal, Action: []string{"sts:AssumeRole"},
			Condition: Condition{}.with("StringEquals", "sts:ExternalId", t.ExternalID)},
		&Statement{Sid: "TakeItsTags", Effect: "Allow", Principal: principal, Action: []string{"sts:TagSession"}},
	), nil
}

// What a cell lends each of its containers of its own: an identity and the certificates the operator trusts (cell.md section 10).
import type { LentFolder } from "@muster/garden";
import type { CertificateProperties } from "@muster/proto/models/certificate_properties";
import type { Variable } from "./environment.js";

export interface CellLends {
  readonly identities: boolean;
  /** A folder of this machine. */
  readonly trustedCertificatesDir: string | undefined;
}

export const lendsNothing: CellLends = { identities: false, trustedCertificatesDir: undefined };

/** What an instance's certificate says beside the instance itself. */
export interface Identity {
  readonly organizationalUnits: readonly string[];
}

interface MayBeLent {
  readonly trustedSystemCertificatesPath: string;
  readonly certificateProperties?: CertificateProperties | undefined;
}

export interface Lent {
  /** Above what the container's owner says. */
  readonly env: readonly Variable[];
  readonly folders: readonly LentFolder[];
  readonly identity: Identity | undefined;
}

const identityFolder = "/etc/cf-instance-credentials";

export function lentTo(from: MayBeLent, { identities, trustedCertificatesDir }: CellLends): Lent {
  const path = from.trustedSystemCertificatesPath;
  const trusted =
    trustedCertificatesDir === undefined || path === "" ? undefined : { folder: trustedCertificatesDir, containerDir: path };
  return {
    env: [
      ...(trusted === undefined ? [] : [{ name: "CF_SYSTEM_CERT_PATH", value: path }]),
      ...(identities
        ? [
            { name: "CF_INSTANCE_CERT", value: `${identityFolder}/instance.crt` },
            { name: "CF_INSTANCE_KEY", value: `${identityFolder}/instance.key` },
          ]
        : []),
    ],
    folders: trusted === undefined ? [] : [trusted],
    identity: identities ? { organizationalUnits: from.certificateProperties?.organizationalUnit ?? [] } : undefined,
  };
}

const halfAnHourMs = 1_800_000;
const fourHoursMs = 14_400_000;

/** How long after it was made a certificate is replaced, in milliseconds: half an hour before its end; a short-lived one at 7/8 of its life. */
export const renewalAfterMs = (validityMs: number): number =>
  validityMs > fourHoursMs ? validityMs - halfAnHourMs : (validityMs * 7) / 8;

/** Obtains an access token for FCM by a signed assertion (RFC 7523) of the project's service account. */
import { importPKCS8, SignJWT } from 'jose';
import { type Dispatcher, request } from 'undici';

export interface ServiceAccount {
  project_id: string;
  client_email: string;
  private_key: string;
  private_key_id?: string;
  token_uri?: string;
}

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const TOKEN_URI = 'https://oauth2.googleapis.com/token';
const LIFETIME_SEC = 3_600;
/** A token is replaced this long before it expires. */
const MARGIN_MS = 300_000;

export class GoogleToken {
  readonly #account: ServiceAccount;
  readonly #dispatcher: Dispatcher;
  readonly #timeoutMs: number;
  readonly #key: ReturnType<typeof importPKCS8>;
  #current: { value: Promise<string>; validUntil: number } | undefined;

  constructor(account: ServiceAccount, dispatcher: Dispatcher, timeoutMs: number) {
    this.#account = account;
    this.#dispatcher = dispatcher;
    this.#timeoutMs = timeoutMs;
    this.#key = importPKCS8(account.private_key, 'RS256');
    // A key that is not valid fails each attempt instead of the process.
    this.#key.catch(() => {});
  }

  /** Returns a valid token. Callers during a request for a new one share it. */
  get(): Promise<string> {
    if (!this.#current || this.#current.validUntil < Date.now()) {
      const requested = { value: undefined as unknown as Promise<string>, validUntil: Date.now() + this.#timeoutMs };
      this.#current = requested;
      requested.value = this.#request();
      requested.value.catch(() => {
        if (this.#current === requested) this.#current = undefined;
      });
    }
    return this.#current.value;
  }

  discard(): void {
    this.#current = undefined;
  }

  async #request(): Promise<string> {
    const assertion = await this.#sign();
    const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion });
    const reply = await request(this.#account.token_uri ?? TOKEN_URI, {
      ...{ method: 'POST', dispatcher: this.#dispatcher, body: body.toString() },
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      signal: AbortSignal.timeout(this.#timeoutMs),
    });
    const given = (await reply.body.json()) as { access_token?: string; expires_in?: number };
    if (reply.statusCode !== 200 || !given.access_token)
      throw Object.assign(new Error('no access token'), { code: `oauth_${reply.statusCode}` });
    const lifetimeMs = (given.expires_in ?? LIFETIME_SEC) * 1_000;
    if (this.#current) this.#current.validUntil = Date.now() + lifetimeMs - MARGIN_MS;
    return given.access_token;
  }

  async #sign(): Promise<string> {
    const { client_email, private_key_id, token_uri = TOKEN_URI } = this.#account;
    return await new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(private_key_id && { kid: private_key_id }) })
      .setIssuer(client_email)
      .setAudience(token_uri)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(await this.#key);
  }
}
